"""ssh, scp and sshd (whose unprivileged child is sandboxed): commands, files both ways, forwarding."""

import hashlib
import os

from harness.lab import CLIENT_V4, HOST_V4
from harness.process import need_program, require, wait_until
from harness.registry import test

PORT = 2222
FILE_BYTES = 30_000_000


class Ssh:
    """A server with keys of its own, and how to reach it without a question being asked."""

    def __init__(self, lab, at_client):
        need_program("sshd")
        self.lab, self.at_client = lab, at_client
        self.address = CLIENT_V4 if at_client else HOST_V4
        self.key = os.path.join(lab.folder, "key")
        host_key = os.path.join(lab.folder, "host_key")
        for path in (self.key, host_key):
            lab.run_client(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
        os.chmod(lab.folder, 0o700)
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        config = os.path.join(lab.folder, "sshd_config")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"""Port {PORT}
HostKey {host_key}
AuthorizedKeysFile {self.key}.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PidFile {lab.folder}/sshd.pid
AllowTcpForwarding yes
Subsystem sftp internal-sftp
""")
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", config]
        self.server = lab.start_client("sshd", argv) if at_client else lab.start_host("sshd", argv)
        lab.wait_listening(self.server, PORT, self.address)

    def options(self, port_option):
        return [port_option, str(PORT), "-i", self.key, "-o", "StrictHostKeyChecking=no", "-o",
                f"UserKnownHostsFile={self.lab.folder}/known", "-o", "BatchMode=yes", "-o",
                "LogLevel=ERROR", "-o", "IdentitiesOnly=yes"]

    def run(self, argv, stdin=None, timeout_s=60):
        run = self.lab.run_host if self.at_client else self.lab.run_client
        words = {"offload": True} if self.at_client else {}
        return run(argv, stdin=stdin, timeout_s=timeout_s, **words).stdout

    def ssh(self, command, stdin=None):
        return self.run(["ssh", *self.options("-p"), f"root@{self.address}", command], stdin)

    def scp(self, source, target):
        self.run(["scp", "-q", *self.options("-P"), source, target], timeout_s=90)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def check_ssh(context, at_client):
    lab = context.up()
    ssh = Ssh(lab, at_client)
    said = ssh.ssh("echo $SSH_CONNECTION; exit 0").split()
    require(said[0].decode() == (HOST_V4 if at_client else CLIENT_V4), f"SSH_CONNECTION is {said}")
    data = os.urandom(3_000_000)
    require(ssh.ssh("cat", data) == data, "3 MB through cat differ")
    source, there, back = (os.path.join(lab.folder, name) for name in ("source", "there", "back"))
    with open(source, "wb") as file:
        file.write(os.urandom(FILE_BYTES))
    ssh.scp(source, f"root@{ssh.address}:{there}")
    require(digest(there) == digest(source), "the file copied there differs")
    ssh.scp(f"root@{ssh.address}:{there}", back)
    require(digest(back) == digest(source), "the file copied back differs")
    for turn in range(5):
        require(ssh.ssh(f"echo {turn}") == b"%d\n" % turn, "one of five sessions")
    return ssh


@test(timeout_s=120)
def sshd_offloaded(context):
    """The server is offloaded, its clients are on kernel TCP; a session outlives the listener."""
    ssh = check_ssh(context, at_client=False)
    session = ssh.lab.start_client("session", ["ssh", *ssh.options("-p"), f"root@{ssh.address}",
                                               "echo up; sleep 2; echo still; exit 0"])
    wait_until(lambda: b"up" in read(session.log_path), "the session is up", 20)
    ssh.server.stop()
    wait_until(lambda: not session.alive(), "the session ends", 20)
    require(b"still" in read(session.log_path), "the session ended with the listener")


def read(path):
    with open(path, "rb") as file:
        return file.read()


@test(timeout_s=120)
def ssh_offloaded(context):
    """ssh and scp are offloaded, the server is on kernel TCP."""
    check_ssh(context, at_client=True)


@test(timeout_s=90)
def ssh_forwards(context):
    """A port forwarded through an offloaded server to another program that is offloaded."""
    lab = context.up()
    ssh = Ssh(lab, at_client=False)
    folder = os.path.join(lab.folder, "files")
    os.makedirs(folder)
    path = os.path.join(folder, "big")
    with open(path, "wb") as file:
        file.write(os.urandom(5_000_000))
    server = lab.start_host("http", ["/usr/bin/python3", "-m", "http.server", "8000", "--directory",
                                     folder])
    lab.wait_listening(server, 8000)
    tunnel = lab.start_client("tunnel", ["ssh", *ssh.options("-p"), "-N", "-L",
                                         f"127.0.0.1:8100:{HOST_V4}:8000", f"root@{HOST_V4}"])
    lab.wait_listening(tunnel, 8100, "127.0.0.1")
    for _ in range(3):
        got = lab.run_client(["curl", "-sSf", "--max-time", "30", "http://127.0.0.1:8100/big"]).stdout
        require(hashlib.sha256(got).hexdigest() == digest(path), "what came by the tunnel differs")
    tunnel.stop()
