/**
 * Files that would be run in place of what a gate means to start, only because they lie where it is sought first: an
 * installed package beside the sources, a module named like the runner. Pure.
 */

/** What an installation lays beside the sources; a change has no business there. */
export function isInstalled(path: string): boolean {
  return INSTALLED.test(path);
}

/** Whether a file that a change adds is one. In `folders` gates start programs of their own. */
export function isStandIn(path: string, folders: ReadonlySet<string> = new Set()): boolean {
  if (isInstalled(path)) return true;
  const [, folder = "", module = ""] = PYTHON_MODULE.exec(path) ?? [];
  if (RUNNER_MODULES.has(module)) return true;
  const place = folder.replace(/\/$/, "");
  const isSearched = ["", "src", "lib"].includes(place) || folders.has(place);
  return isSearched && SOUGHT_MODULES.has(module);
}

const INSTALLED =
  /(?:^|\/)(?:node_modules\/.+|\.pnp\.(?:c?js|loader\.mjs)|\.yarn\/(?:releases|plugins|sdks|unplugged|cache)\/.+|(?:\.venv|venv)\/.+|vendor\/(?:modules\.txt|autoload\.php|(?:bin|composer|bundle)\/.+)|[^/]+\.(?:pth|egg-link)|[^/]+\.(?:dist|egg)-info\/.+)$|^lib\/(?:minitest|rspec|rspec\/core|test\/unit|rake)(?:\/autorun)?\.rb$/;

/** `signal.py`, `pytest/__init__.py`, a compiled one: where it is imported from, and as what. */
const PYTHON_MODULE =
  /^((?:[^/]+\/)*?)([A-Za-z_]\w*)(?:\.(?:py|pyc|so|pyd)|\.[\w-]+\.(?:so|pyd)|\/__(?:init|main)__\.pyc?)$/;

/** What runs tests of Python, and what Python itself starts with: nobody names his own so, wherever it lies. */
const RUNNER_MODULES: ReadonlySet<string> = new Set([
  "sitecustomize",
  "usercustomize",
  "pytest",
  "_pytest",
  "unittest",
  "pluggy",
  "iniconfig",
]);

/** Python's own modules and more of its runners and checkers, all of which a module beside the sources hides. */
const SOUGHT_MODULES: ReadonlySet<string> = new Set(
  (
    "abc argparse array ast asyncio atexit base64 bdb binascii bisect builtins bz2 calendar cmath cmd code codecs codeop collections " +
    "colorsys compileall concurrent configparser contextlib contextvars copy copyreg csv ctypes curses dataclasses datetime dbm decimal " +
    "difflib dis email encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions ftplib functools gc " +
    "genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html http imaplib importlib inspect io ipaddress " +
    "itertools json keyword linecache locale logging lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing netrc numbers " +
    "opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform plistlib poplib posix posixpath pprint profile pstats " +
    "pty pwd py_compile pyclbr pydoc queue quopri random re readline reprlib resource rlcompleter runpy sched secrets select selectors " +
    "shelve shlex shutil signal site smtplib socket socketserver sqlite3 sre_compile sre_constants sre_parse ssl stat statistics string " +
    "stringprep struct subprocess symtable sys sysconfig syslog tabnanny tarfile tempfile termios textwrap this threading time timeit " +
    "tkinter token tokenize tomllib trace traceback tracemalloc tty turtle types typing unicodedata urllib uu uuid venv warnings wave " +
    "weakref webbrowser wsgiref xml xmlrpc zipapp zipfile zipimport zlib zoneinfo doctest nose nose2 tox nox trial xdist pytest_cov " +
    "pytest_asyncio hypothesis coverage flake8 pycodestyle pyflakes mccabe mypy ruff black pylint astroid pyright"
  ).split(" "),
);

/** Whether bytes are compiled Python that is run without a look at its source. */
export function isUncheckedBytecode(bytes: Uint8Array): boolean {
  // Four bytes of magic, then flags: a hash that is not to be checked.
  return bytes.length >= 8 && bytes[4] === 1;
}
