#!/usr/bin/env python3
"""pno-packetdrill's command line, as packetdrill's: which of its options act, and how.

usage: command_line.py RUNNER
"""
import pathlib
import subprocess
import sys
import tempfile

LISTENER = """    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
"""
SYN_ACK = "   +0 > S. 0:0(0) ack 1 <mss %d,nop,nop,sackOK,nop,wscale %d>\n"
WRONG_PACKET = "   +0 < . 1:1(0) ack 1 win 257\n   +0 accept(3, ..., ...) = 4\n   +0 > . 1:1(0) ack 1\n"
OUTSIDE = LISTENER + SYN_ACK % (1460, 7) + "   +0 < . 1:1(0) ack 1 win 257\n" \
    "   +0 < . 500001:500101(100) ack 1 win 257\n   +0 > . 1:1(0) ack 1\n"

# Name, options, script, and what the answer begins with.
CASES = [
    ("a script passes", [], LISTENER + SYN_ACK % (1460, 7), "ok"),
    ("the command line holds over the script", ["--ip_version=ipv6"],
     "--ip_version=ipv4\n" + LISTENER + SYN_ACK % (1440, 7), "ok"),
    ("values may be in quotes", [], '--ip_version="ipv6"\n--mtu="1520"\n' + LISTENER + SYN_ACK % (1460, 7), "ok"),
    ("a dry run does nothing", ["--dry_run"], LISTENER + SYN_ACK % (1, 1), "ok"),
    ("a dry run parses", ["--dry_run"], LISTENER + "   +0 > S. 0:1(0)\n", "not ok"),
    ("commands of other files come first", ["--init_scripts={folder}/small.sh"], LISTENER + SYN_ACK % (1460, 6), "ok"),
    ("other files must be there", ["--init_scripts={folder}/nowhere.sh"], LISTENER, "not ok"),
    ("a packet that differs fails", [], LISTENER + SYN_ACK % (1460, 7) + WRONG_PACKET, "not ok"),
    ("unless packets may differ", ["--non_fatal=packet"], LISTENER + SYN_ACK % (1460, 7) + WRONG_PACKET, "ok"),
    ("calls are another matter", ["--non_fatal=syscall"], LISTENER + SYN_ACK % (1460, 7) + WRONG_PACKET, "not ok"),
    ("ports are chosen", ["--bind_port=81"], LISTENER.replace("< S", "< 4000 > 81 S") +
     "   +0 > 81 > 4000 S. 0:0(0) ack 1 <...>\n", "ok"),
    ("definitions are taken", ["-D", "MORE=1000"], LISTENER + SYN_ACK % (1460, 7) +
     "   +0 < . 1:1(0) ack 1 win 257\n   +0 accept(3, ..., ...) = 4\n   +0 write(4, ..., MORE) = MORE\n"
     "   +0 > P. 1:1001(1000) ack 1\n", "ok"),
    ("nstat tells what was counted", [], OUTSIDE + "   +0 `nstat -s | grep TcpExtBeyondWindow | grep -q ' 1 '`\n"
     "   +0 `nstat > /dev/null`\n   +0 `nstat -z | grep TcpExtBeyondWindow | grep -q ' 0 '`\n", "ok"),
    ("nstat tells no other number", [], OUTSIDE + "   +0 `nstat | grep BeyondWindow | grep -q ' 2 '`\n", "not ok"),
    ("nstat owns up to what is not counted", [], LISTENER + "   +0 `nstat -z | grep -q TcpExtNobody`\n", "not ok"),
    ("unknown options are told", ["--no_such_option=1"], LISTENER, "not ok"),
]


def main():
    runner, failed = sys.argv[1], 0
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "small.sh").write_text('sysctl -q net.ipv4.tcp_rmem="4096 131072 4194303"\n')
        for name, options, text, wanted in CASES:
            script = pathlib.Path(folder) / "script.pkt"
            script.write_text(text)
            options = [option.format(folder=folder) for option in options]
            answer = subprocess.run([runner, *options, str(script)], stdout=subprocess.PIPE, text=True, check=False)
            good = answer.stdout.startswith(wanted + " ") and answer.stdout.count("\n") == 1 \
                and (answer.returncode == 0) == (wanted == "ok")
            failed += not good
            if not good:
                print(f"{name}: status {answer.returncode}, {answer.stdout.strip()}")
    print(f"{len(CASES)} cases, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
