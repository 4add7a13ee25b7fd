"""make check-apps: PostgreSQL with pgbench, MariaDB; vsftpd, rsync, git."""

import glob
import hashlib
import os
import pwd
import signal

from harness.lab import CLIENT_V4, HOST_V4
from harness.process import Skip, need_program, require, run, wait_until
from harness.registry import test
from harness.web import write_config


def as_user(name, argv):
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", *argv]


def own(path, name):
    who = pwd.getpwnam(name)
    os.chown(path, who.pw_uid, who.pw_gid)


def open_folders(lab):
    for path in (os.path.dirname(lab.folder), lab.folder):
        os.chmod(path, 0o755)


def folder_digest(folder):
    """Names and contents of all regular files below, but for a repository's own."""
    digest = hashlib.sha256()
    for path in sorted(glob.glob(os.path.join(folder, "**", "*"), recursive=True)):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                digest.update(os.path.relpath(path, folder).encode() + b"\0" + file.read())
    return digest.hexdigest()


def make_tree(folder, files=200):
    os.makedirs(folder)
    for i in range(files):
        sub = os.path.join(folder, f"d{i % 7}")
        os.makedirs(sub, exist_ok=True)
        with open(os.path.join(sub, f"f{i}"), "wb") as file:
            file.write(os.urandom(i * i * 7 % 90_000))
    with open(os.path.join(folder, "big"), "wb") as file:
        file.write(os.urandom(20_000_000))


@test(timeout_s=180, extra=True)
def postgresql_pgbench(context):
    """pgbench's own checks, large values, a dump that is the same, kill -9 and recovery."""
    bins = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not bins or not os.path.exists(f"{bins[-1]}/pgbench"):
        raise Skip("postgresql is not installed")
    lab = context.up()
    open_folders(lab)
    data = os.path.join(lab.folder, "data")
    os.makedirs(data, mode=0o700)
    own(data, "postgres")
    run(as_user("postgres", [f"{bins[-1]}/initdb", "-D", data, "-A", "trust", "--no-sync"]), timeout_s=90,
        cwd="/")
    with open(f"{data}/pg_hba.conf", "a", encoding="ascii") as file:
        file.write("host all all 10.77.0.0/24 trust\n")
    argv = as_user("postgres", [f"{bins[-1]}/postgres", "-D", data, "-h", "*", "-k", "", "-c",
                                "fsync=off"])
    server = lab.start_host("postgres", argv)
    where = ["-h", HOST_V4, "-U", "postgres"]

    def sql(text, timeout_s=60):
        return lab.run_client(["psql", *where, "-XAtq", "-d", "postgres", "-c", text],
                              timeout_s=timeout_s).stdout.decode().strip()

    def answers():
        return lab.run_client(["psql", *where, "-d", "postgres", "-c", ""], check=False).returncode == 0
    wait_until(answers, "postgres answers", 30)
    lab.run_client(["pgbench", *where, "-i", "-s", "2", "-q", "postgres"], timeout_s=90)
    for mode in ("simple", "prepared"):
        said = lab.run_client(["pgbench", *where, "-c", "8", "-j", "2", "-t", "200", "-n", "-M", mode,
                               "postgres"], timeout_s=90).stdout.decode()
        require("number of transactions actually processed: 1600/1600" in said, said[-300:])
    balances = sql("select (select sum(abalance) from pgbench_accounts) = "
                   "(select sum(delta) from pgbench_history)")
    require(balances == "t", "the balances do not add up")
    require(sql("select md5(string_agg(repeat(i::text, 1000), '')) from generate_series(1,3000) i")
            == hashlib.md5(b"".join(b"%d" % i * 1000 for i in range(1, 3001))).hexdigest(), "md5 differs")
    text = sql("select repeat('0123456789', 1000000)")
    require(text == "0123456789" * 1_000_000, f"10 MB of text: {len(text)} other bytes")
    count = sql("select count(*) from pgbench_history")
    server.kill()
    for pid in [int(p) for p in run(["ip", "netns", "pids", lab.host]).stdout.split()]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not run(["ip", "netns", "pids", lab.host]).stdout.split(), "all are gone")
    lab.assert_nothing_left()
    os.unlink(f"{data}/postmaster.pid")
    server = lab.start_host("postgres", argv)
    wait_until(answers, "postgres answers after recovery", 60)
    require(sql("select count(*) from pgbench_history") == count, "committed rows are gone")
    os.kill(server.pid, signal.SIGINT)
    wait_until(lambda: not server.alive(), "postgres ends", 30)


@test(timeout_s=180, extra=True)
def mariadb_server(context):
    """Rows written by several clients at once, read back; a large value; kill -9 and recovery."""
    need_program("mariadbd")
    lab = context.up()
    open_folders(lab)
    data = os.path.join(lab.folder, "data")
    os.makedirs(data)
    own(data, "mysql")
    run(["mariadb-install-db", f"--datadir={data}", "--user=mysql",
         "--auth-root-authentication-method=normal", "--skip-test-db"], timeout_s=90)
    argv = ["mariadbd", "--no-defaults", f"--datadir={data}", "--user=mysql", "--bind-address=0.0.0.0",
            "--port=3306", f"--socket={lab.folder}/sql.sock", f"--pid-file={lab.folder}/sql.pid",
            "--max-allowed-packet=64M", "--skip-name-resolve"]
    os.chmod(lab.folder, 0o777)
    server = lab.start_host("mariadbd", argv)
    local = ["mariadb", "--no-defaults", f"--socket={lab.folder}/sql.sock", "-u", "root"]
    wait_until(lambda: lab.run_host([*local, "-e", "select 1"], False, check=False).returncode == 0,
               "mariadb answers", 60)
    lab.run_host([*local, "-e", "create user 'u'@'%'; grant all on *.* to 'u'@'%'; create database d; "
                  "create table d.t (k int primary key, v longtext)"], False)
    remote = ["mariadb", "--no-defaults", "-h", HOST_V4, "-u", "u", "--max-allowed-packet=64M", "-N", "d"]

    def sql(text):
        return lab.run_client([*remote], stdin=text.encode(), timeout_s=60).stdout.decode().strip()
    for batch in range(5):
        sql("".join(f"insert into t values ({batch * 200 + i}, repeat('v{i}', 300));" for i in range(200)))
    require(sql("select count(*), sum(length(v)) from t").split() ==
            ["1000", str(5 * sum(300 * len(f"v{i}") for i in range(200)))], "rows differ")
    sql("insert into t values (9999, repeat('0123456789', 500000))")
    require(sql("select v from t where k = 9999") == "0123456789" * 500_000, "5 MB differ")
    lab.run_client(["mariadb-slap", "--no-defaults", "-h", HOST_V4, "-u", "u", "--concurrency=8",
                    "--iterations=2", "--auto-generate-sql", "--auto-generate-sql-load-type=mixed",
                    "--number-of-queries=400"], timeout_s=60)
    server.kill()
    lab.assert_nothing_left()
    lab.start_host("mariadbd", argv)
    wait_until(lambda: lab.run_client([*remote, "-e", "select 1"], check=False).returncode == 0,
               "mariadb answers after recovery", 60)
    require(sql("select count(*) from t") == "1001", "committed rows are gone")


@test(timeout_s=90, extra=True)
def vsftpd_active_and_passive(context):
    """Files up and down; in active mode the offloaded server connects to the client."""
    need_program("vsftpd")
    lab = context.up()
    open_folders(lab)
    root = os.path.join(lab.folder, "ftp")
    os.makedirs(f"{root}/in", mode=0o755)
    own(f"{root}/in", "ftp")
    path = os.path.join(root, "big")
    with open(path, "wb") as file:
        file.write(os.urandom(20_000_000))
    os.makedirs("/run/vsftpd/empty", exist_ok=True)
    config = write_config(lab, "vsftpd.conf", f"""
listen=YES
background=NO
listen_port=2121
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_root={root}
no_anon_password=YES
ftp_data_port=2120
connect_from_port_20=YES
secure_chroot_dir=/run/vsftpd/empty
anon_umask=022
""")
    os.chmod(config, 0o600)
    server = lab.start_host("vsftpd", ["/usr/sbin/vsftpd", config])
    lab.wait_listening(server, 2121)
    up = os.path.join(lab.folder, "up")
    with open(up, "wb") as file:
        file.write(os.urandom(5_000_000))
    for turn, mode in enumerate((["--ftp-pasv"], ["--ftp-port", CLIENT_V4], ["--disable-epsv"])):
        got = lab.run_client(["curl", "-sSf", "--max-time", "30", *mode, f"ftp://{HOST_V4}:2121/big"],
                             timeout_s=40).stdout
        with open(path, "rb") as file:
            require(got == file.read(), f"{mode}: {len(got)} other bytes came")
        lab.run_client(["curl", "-sSf", "--max-time", "30", *mode, "-T", up,
                        f"ftp://{HOST_V4}:2121/in/up{turn}"], timeout_s=40)
        with open(up, "rb") as sent, open(f"{root}/in/up{turn}", "rb") as there:
            require(there.read() == sent.read(), f"{mode}: the file sent differs")


@test(timeout_s=90, extra=True)
def rsync_daemon(context):
    """A tree to an offloaded daemon and back, and its changes only."""
    need_program("rsync")
    lab = context.up()
    source, there, back = (os.path.join(lab.folder, name) for name in ("source", "there", "back"))
    make_tree(source)
    os.makedirs(there)
    config = write_config(lab, "rsyncd.conf", f"""
use chroot = no
uid = root
gid = root
[tree]
path = {there}
read only = no
""")
    server = lab.start_host("rsync", ["rsync", "--daemon", "--no-detach", "--port", "8730",
                                      f"--config={config}"])
    lab.wait_listening(server, 8730)
    url = f"rsync://{HOST_V4}:8730/tree/"
    for turn in range(2):
        lab.run_client(["rsync", "-a", "-c", "--delete", f"{source}/", url], timeout_s=60)
        require(folder_digest(there) == folder_digest(source), f"the tree there differs ({turn})")
        with open(os.path.join(source, "big"), "r+b") as file:
            file.seek(5_000_000)
            file.write(os.urandom(100_000))
        os.unlink(os.path.join(source, "d1", f"f{1 + turn * 7}"))
    lab.run_client(["rsync", "-a", "-z", url, f"{back}/"], timeout_s=60)
    require(folder_digest(back) == folder_digest(there), "the tree that came back differs")


@test(timeout_s=120, extra=True)
def git_over_http_and_ssh(context):
    """A repository is cloned and pushed to, over http (read) and ssh, the server's end offloaded."""
    need_program("git")
    from test_ssh import Ssh  # pylint: disable=import-outside-toplevel
    lab = context.up()
    source, bare = os.path.join(lab.folder, "source"), os.path.join(lab.folder, "served/repo.git")
    make_tree(source, files=100)

    def git(*words, where=source, client=False):
        argv = ["env", "HOME=" + lab.folder, "git", "-c", "user.name=t", "-c", "user.email=t@t",
                "-c", "safe.directory=*", "-C", where, *words]
        return lab.run_client(argv, timeout_s=60).stdout if client else run(argv, timeout_s=60).stdout
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    os.makedirs(bare)
    git("init", "-q", "--bare", "-b", "main", where=bare)
    git("push", "-q", bare, "main")
    git("update-server-info", where=bare)
    server = lab.start_host("http", ["/usr/bin/python3", "-m", "http.server", "8000", "--directory",
                                     os.path.dirname(bare)])
    lab.wait_listening(server, 8000)
    by_http, by_ssh = os.path.join(lab.folder, "by-http"), os.path.join(lab.folder, "by-ssh")
    git("clone", "-q", f"http://{HOST_V4}:8000/repo.git", by_http, where=lab.folder, client=True)
    require(git("rev-parse", "HEAD", where=by_http) == git("rev-parse", "HEAD"), "http: another commit")
    git("fsck", "--full", where=by_http)
    ssh = Ssh(lab, at_client=False)
    command = "ssh " + " ".join(ssh.options("-p"))
    git("-c", f"core.sshCommand={command}", "clone", "-q", f"ssh://root@{HOST_V4}{bare}", by_ssh,
        where=lab.folder, client=True)
    with open(os.path.join(by_ssh, "new"), "wb") as file:
        file.write(os.urandom(3_000_000))
    git("add", ".", where=by_ssh)
    git("commit", "-q", "-m", "more", where=by_ssh)
    git("-c", f"core.sshCommand={command}", "push", "-q", "origin", "main", where=by_ssh, client=True)
    require(git("rev-parse", "main", where=bare) == git("rev-parse", "HEAD", where=by_ssh),
            "what was pushed is not there")
    git("fsck", "--full", where=bare)
