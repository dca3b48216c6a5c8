"""Names with which a file that comes from elsewhere would have others read or write outside a folder."""

ESCAPES = (
    "../out.png",
    "a/../../out.png",
    "a/b/../../../out.png",
    "..",
    "/out.png",
    "//host/out.png",
    "/dev/null",
    "..\\out.png",
    "a\\..\\..\\out.png",
    "\\out.png",
    "\\\\host\\share\\out.png",
    "C:/out.png",
    "C:out.png",
    "c:\\out.png",
)
UNWRITABLE = (  # names of no file, or of one that not every system can have
    "",
    ".",
    "a/",
    "a\\b.png",
    "a\0.png",
    "CON",
    "aux.png",
    "a/nul.txt",
    "com1",
    "\ud800.png",
    "n" * 300 + ".png",
    "/".join(["deep"] * 500),
)
