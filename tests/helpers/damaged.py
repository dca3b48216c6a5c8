"""Hypothesis strategies that spoil a sound file: values of a tree of JSON, or bytes."""

import copy

from hypothesis import strategies as st

from helpers.escapes import ESCAPES, UNWRITABLE

ODD = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1, 0.5, 2**31, 2**53, 2**63, 2**70, 10**400, 1e300, -1e300, 1e-300]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), "", "x", "1", "a\nb\x1b[2J", "\ud800", "ä" * 300]),
    st.sampled_from([[], {}, [[]], [None], {"": None}, [0, 0], [1, 2, 3, 4], *ESCAPES, *UNWRITABLE]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-3, 70) | st.floats(-3, 70), max_size=8),
)


def places_of(tree, above=()):
    """The way to every value of a tree, as keys and indices."""
    found = [above] if above else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places_of(value, (*above, key))
    return found


def _at(tree, place):
    for key in place:
        tree = tree[key]
    return tree


@st.composite
def a_changed_tree(draw, tree, most=3):
    """The tree with up to `most` of its values replaced, removed, doubled, or taken from another place."""
    changed = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        places = places_of(changed)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder, how = (
            _at(changed, way),
            draw(st.sampled_from(["odd", "odd", "odd", "remove", "double", "other", "near"])),
        )
        if how == "remove":
            del holder[last]
        elif how == "double" and isinstance(holder, list):
            holder.insert(last, copy.deepcopy(holder[last]))
        elif how == "other":
            holder[last] = copy.deepcopy(_at(changed, draw(st.sampled_from(places))))
        elif how == "near" and isinstance(holder[last], (int, float)) and not isinstance(holder[last], bool):
            holder[last] += draw(st.sampled_from([-1, 1, -0.5, 0.25, 1e-9, -100, 100]))
        else:
            holder[last] = copy.deepcopy(draw(ODD))  # of what is drawn again, nothing may change
    return changed


def damaged_bytes(content):
    """The bytes cut short, or with some of them replaced, inserted or removed."""
    position = st.integers(0, max(len(content) - 1, 0))

    def spoil(how, at, length, new):
        if how == "cut":
            return content[:at]
        if how == "remove":
            return content[:at] + content[at + length :]
        return content[:at] + new + content[at + (len(new) if how == "replace" else 0) :]

    hows = st.sampled_from(["cut", "remove", "replace", "insert"])
    return st.builds(spoil, hows, position, st.integers(1, 20), st.binary(min_size=1, max_size=6))
