"""Pascal VOC's rules of average precision, written out as the devkit's pages state them, a loop at a time."""

from __future__ import annotations


def ranked(scores, truth):
    """(precision, recall) after each image of falling score; truth is 1, 0, or -1 for difficult, which is passed over.

    The scores are all different.
    """
    order = sorted((at for at in range(len(scores)) if truth[at] != -1), key=lambda at: -scores[at])
    wanted = sum(1 for at in order if truth[at] == 1)
    found, points = 0, []
    for seen, at in enumerate(order, 1):
        found += truth[at] == 1
        points.append((found / seen, found / wanted))
    return points


def ap_2007(scores, truth):
    """The mean over 11 recalls of the highest precision at that recall or a higher one."""
    points, total = ranked(scores, truth), 0.0
    for tenth in range(11):
        total += max((precision for precision, recall in points if recall * 10 >= tenth - 1e-9), default=0.0)
    return total / 11


def ap_2010(scores, truth):
    """The area below the precision after it was made to fall, from one recall that is reached to the next."""
    points = ranked(scores, truth)
    total, before = 0.0, 0.0
    for place, (_, recall) in enumerate(points):
        total += (recall - before) * max(precision for precision, _ in points[place:])
        before = recall
    return total
