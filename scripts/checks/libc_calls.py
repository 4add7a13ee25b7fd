"""Whether every way by which a program's descriptors reach libc is known.

A function of libc that takes or makes descriptors is either taken over (src/hostlib/interposed.def) or
named, with the reason why not, in src/hostlib/not_interposed.txt. Which functions these are is found out in
two ways: by the prototypes in libc's headers, and by name, as further spellings of functions that are known
(`__read`, `__fcntl`, `pread64`, `__poll_chk`) have no prototypes. What installed programs and their libraries
import is looked at by name alone, so that a spelling nobody thought of shows.
"""

import os
import re
import shutil
import subprocess

LIBC = "libc.so.6"
HEADER = re.compile(r"/usr/include/(x86_64-linux-gnu/|aarch64-linux-gnu/)?((sys|rpc|arpa|net|netinet)/)?"
                    r"[^/]+\.h$")

# A parameter of this name and type is a descriptor, in all headers of libc.
PARAMETER = re.compile(r"\bint\s+(__|_)?(fd\d*|sockfd|sock|socket|fildes\d*|filedes|fdin|fdout|in_fd|infd"
                       r"|out_fd|outfd|epfd|dfd|dirfd|olddirfd|newdirfd|fromfd|tofd|from_dfd|to_dfd"
                       r"|inotify_fd|ufd|pidfd|sd|fda|tfd|mqdes|(ctl|m|s|a)?master|desc|descriptor|netfd)\b")
# Others that take or make descriptors.
STRUCTURES = re.compile(r"\bstruct (pollfd|msghdr|mmsghdr|aiocb|aiocb64)\b|\bfd_set\b|posix_spawn_file_actions_t")
MAKERS = re.compile(r"^(v?fork|_Fork|clone|exec\w*|fexecve|posix_spawnp?|system|popen|pclose|socket(pair)?"
                    r"|pipe2?|epoll_create1?|eventfd|timerfd_create|inotify_init1?|signalfd|memfd_create"
                    r"|(f|fre)?open(64|at|at64)?|creat(64)?|mq_open|daemon|forkpty|openpty|posix_openpt|getpt"
                    r"|rcmd(_af)?|rexec(_af)?|rresvport(_af)?|syscall|wordexp|closefrom|close_range"
                    r"|_exit|_Exit)$")

PREFIXES = ("__libc_", "__", "_IO_", "_")
SUFFIXES = ("_chk", "_nocancel", "_2", "64", "_alias")

# Part of the names of all calls that matter; to be looked at in programs' imports.
SUSPECT = re.compile(r"(^|_)(p?read|p?write|recv|send|sock|connect|accept|bind|listen|p?poll|p?select|close"
                     r"|dup|fcntl|ioctl|v?fork|exec|spawn|clone|epoll|splice|dprintf|getsock|setsock|getpeer)")

PROGRAMS = ("redis-server", "redis-cli", "redis-benchmark", "memcached", "lighttpd", "haproxy", "nginx",
            "python3", "node", "curl", "ssh", "sshd", "iperf3", "wrk", "ab", "apache2", "postgres", "mariadbd",
            "java", "vsftpd", "rsync", "wget", "stunnel4", "h2load", "git", "tclsh", "perl", "ruby", "php", "erl")


def _output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
                          text=True).stdout


def _libc_path():
    for line in _output("ldd", shutil.which("sh") or "/bin/sh").splitlines():
        if line.strip().startswith(LIBC):
            return line.split("=>")[1].split()[0]
    raise FileNotFoundError(LIBC)


def exports(path):
    """{name: versions} of the functions that a library exports."""
    found = {}
    for line in _output("nm", "--dynamic", "--defined-only", path).splitlines():
        kind, name = line.split()[-2:]
        if kind in "TWi":
            base, _, version = name.replace("@@", "@").partition("@")
            found.setdefault(base, set()).add(version)
    return found


def imports(path):
    return {line.split()[-1].partition("@")[0]
            for line in _output("nm", "--dynamic", "--undefined-only", path).splitlines()}


def prototypes():
    """'name(parameters)' of all that libc's headers declare."""
    headers = [path for path in _output("dpkg", "-L", "libc6-dev").splitlines() if HEADER.match(path)]
    text = ""
    for path in headers:
        run = subprocess.run(["gcc", "-E", "-P", "-D_GNU_SOURCE", "-x", "c", path], check=False, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        text += run.stdout
    text = re.sub(r"\s+", " ", text)
    return set(re.findall(r"\b(\w+ ?\((?:[^()]|\([^()]*\))*\)) ?(?:__asm__|__attribute__|;)", text))


def descriptor_functions(declared):
    found = set()
    for prototype in declared:
        name, _, parameters = prototype.partition("(")
        name = name.strip()
        if PARAMETER.search(parameters) or STRUCTURES.search(parameters) or MAKERS.match(name):
            found.add(name)
    return found


def spellings(name):
    """What `name` is another spelling of, as far as can be told."""
    found = {name}
    for _ in range(3):
        for known in list(found):
            found |= {known.removeprefix(prefix) for prefix in PREFIXES}
            found |= {known.removesuffix(suffix) for suffix in SUFFIXES}
    return found


def read_reasons(path):
    """{name: reason} of not_interposed.txt: 'reason:' on a line of its own, then indented names."""
    reasons, reason = {}, None
    with open(path, encoding="utf-8") as text:
        for line in text:
            if line.startswith("#") or not line.strip():
                continue
            if not line[0].isspace():
                reason = line.strip().rstrip(":")
                continue
            for name in line.split():
                reasons[name] = reason
    return reasons


def program_imports():
    """{name: a program or library that imports it} of the programs that are installed."""
    files = set()
    for program in PROGRAMS:
        path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path is None:
            continue
        path = os.path.realpath(path)
        with open(path, "rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        files.add(path)
        ldd = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
                             text=True)
        files |= {os.path.realpath(word) for word in re.findall(r"=> (/\S+)", ldd.stdout)}
    own = re.compile(r"/(libc|libpthread|libdl|librt|libm|ld-linux-\w+)[.-]")
    found = {}
    for path in sorted(files):
        if not own.search(path):
            for name in imports(path):
                found.setdefault(name, path)
    return found


def problems(root):
    with open(os.path.join(root, "src/hostlib/interposed.def"), encoding="utf-8") as text:
        ours = set(re.findall(r"^INTERPOSED\w*\([^,]+,\s*(\w+)", text.read(), re.M))
    reasons = read_reasons(os.path.join(root, "src/hostlib/not_interposed.txt"))
    exported = exports(_libc_path())
    public = {name for name, versions in exported.items() if versions != {"GLIBC_PRIVATE"}}
    found = []
    declared = descriptor_functions(prototypes())
    if len(declared & public) < 150:
        found.append(f"only {len(declared & public)} functions with descriptors were found in libc's headers")
    known = ours | set(reasons)
    wanted = declared & public
    wanted |= {name for name in public if spellings(name) & (wanted | known)}
    found += [f"libc's {name}() is neither taken over nor in not_interposed.txt" for name in sorted(wanted - known)]
    imported = program_imports()
    for name, path in sorted(imported.items()):
        if name in public and name not in known and SUSPECT.search(name):
            found.append(f"{path} imports {name}(), which is neither taken over nor in not_interposed.txt")
    found += [f"{name}() is taken over and in not_interposed.txt" for name in sorted(ours & set(reasons))]
    return found + [f"not_interposed.txt names {name}(), which libc does not have"
                    for name in sorted(set(reasons) - set(exported))]
