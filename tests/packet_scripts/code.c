#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "assertions.h"
#include "base/time_units.h"
#include "machine.h"

/* Code is Python; all of a script's is gathered and run at its end: here as far as it is made of
 * assertions, else by one interpreter. */

static const char prologue[] =
    "import sys, textwrap, os\n"
    "out, sys.stdout = sys.stdout, os.fdopen(3, 'w')\n" /* what the script prints */
    "env = {}\n"
    "def values(**v): env.update(v)\n"
    "def run(line, text):\n"
    "    text = bytes.fromhex(text).decode()\n"
    "    head, _, tail = text.partition('\\n')\n"
    "    text = textwrap.dedent(tail) if not head.strip() else text.strip()\n"
    "    text = text.strip().rstrip('\\\\')\n"
    "    try:\n"
    "        exec(text, env)\n"
    "    except Exception as e:\n"
    "        what = ' '.join(text.split())\n"
    "        print(f'{line} {type(e).__name__} {e} in: {what}', file=out)\n"
    "        sys.exit(1)\n"
    "values(TCP_ESTABLISHED=1, TCP_SYN_SENT=2, TCP_SYN_RECV=3, TCP_FIN_WAIT1=4, TCP_FIN_WAIT2=5,\n"
    "       TCP_TIME_WAIT=6, TCP_CLOSE=7, TCP_CLOSE_WAIT=8, TCP_LAST_ACK=9, TCP_LISTEN=10,\n"
    "       TCP_CLOSING=11, TCP_CA_Open=0, TCP_CA_Disorder=1, TCP_CA_CWR=2, TCP_CA_Recovery=3,\n"
    "       TCP_CA_Loss=4, TCPI_OPT_TIMESTAMPS=1, TCPI_OPT_SACK=2, TCPI_OPT_WSCALE=4,\n"
    "       TCPI_OPT_ECN=8, TCPI_OPT_ECN_SEEN=16, TCPI_OPT_SYN_DATA=32, TCPI_OPT_USEC_TS=64, "
    "TCP_INFINITE_SSTHRESH=0x7fffffff)\n";

static void append(struct machine *machine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void append(struct machine *machine, const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        abort();
    machine->code = realloc(machine->code, machine->code_length + (size_t)length + 1);
    if (machine->code == NULL)
        abort();
    memcpy(machine->code + machine->code_length, text, (size_t)length + 1);
    machine->code_length += (size_t)length;
    free(text);
}

static void append_values(struct machine *machine, const struct tcp_connection_info *i)
{
    append(machine,
           "values(tcpi_state=%u, tcpi_ca_state=%u, tcpi_retransmits=%u, tcpi_probes=%u,"
           " tcpi_backoff=%u, tcpi_options=%u, tcpi_snd_wscale=%u, tcpi_rcv_wscale=%u,"
           " tcpi_delivery_rate_app_limited=%d, tcpi_rto=%llu, tcpi_ato=%llu, tcpi_rtt=%llu,"
           " tcpi_rttvar=%llu, tcpi_min_rtt=%llu, tcpi_rcv_rtt=%llu,",
           i->state, i->ca_state, i->retransmits, i->probes, i->backoff, i->options, i->snd_wscale,
           i->rcv_wscale, i->app_limited, (unsigned long long)(i->rto_ns / NS_PER_US),
           (unsigned long long)(i->ato_ns / NS_PER_US),
           (unsigned long long)(i->srtt_ns / NS_PER_US),
           (unsigned long long)(i->rttvar_ns / NS_PER_US),
           (unsigned long long)(i->min_rtt_ns / NS_PER_US),
           (unsigned long long)(i->rcv_rtt_ns / NS_PER_US));
    append(machine,
           " tcpi_snd_mss=%u, tcpi_rcv_mss=%u, tcpi_advmss=%u, tcpi_pmtu=%u, tcpi_unacked=%u,"
           " tcpi_sacked=%u, tcpi_lost=%u, tcpi_retrans=%u, tcpi_total_retrans=%u,"
           " tcpi_reordering=%u, tcpi_snd_cwnd=%u, tcpi_snd_ssthresh=%u, tcpi_snd_wnd=%u,"
           " tcpi_rcv_wnd=%u, tcpi_rcv_space=%u, tcpi_rcv_ssthresh=%u,",
           i->snd_mss, i->rcv_mss, i->advmss, i->pmtu, i->unacked, i->sacked, i->lost, i->retrans,
           i->total_retrans, i->reordering, i->snd_cwnd, i->snd_ssthresh, i->snd_wnd, i->rcv_wnd,
           i->rcv_space, i->rcv_ssthresh);
    append(
        machine,
        " tcpi_last_data_sent=%llu, tcpi_last_data_recv=%llu, tcpi_last_ack_recv=%llu,"
        " tcpi_bytes_acked=%llu, tcpi_bytes_received=%llu, tcpi_bytes_sent=%llu,"
        " tcpi_bytes_retrans=%llu, tcpi_busy_time=%llu, tcpi_rwnd_limited=%llu,"
        " tcpi_sndbuf_limited=%llu, tcpi_notsent_bytes=%llu, tcpi_delivery_rate=%llu,"
        " tcpi_pacing_rate=%llu, tcpi_max_pacing_rate=%llu, tcpi_fackets=0, tcpi_last_ack_sent=0,",
        (unsigned long long)(i->last_data_sent_ns / NS_PER_MS),
        (unsigned long long)(i->last_data_recv_ns / NS_PER_MS),
        (unsigned long long)(i->last_ack_recv_ns / NS_PER_MS), (unsigned long long)i->bytes_acked,
        (unsigned long long)i->bytes_received, (unsigned long long)i->bytes_sent,
        (unsigned long long)i->bytes_retrans, (unsigned long long)(i->busy_time_ns / NS_PER_US),
        (unsigned long long)(i->rwnd_limited_ns / NS_PER_US),
        (unsigned long long)(i->sndbuf_limited_ns / NS_PER_US),
        (unsigned long long)i->notsent_bytes, (unsigned long long)i->delivery_rate_bytes_per_s,
        (unsigned long long)i->pacing_rate_bytes_per_s,
        i->max_pacing_rate_bytes_per_s == 0 ? ~0ULL
                                            : (unsigned long long)i->max_pacing_rate_bytes_per_s);
    append(machine,
           " tcpi_segs_in=%u, tcpi_segs_out=%u, tcpi_data_segs_in=%u, tcpi_data_segs_out=%u,"
           " tcpi_delivered=%u, tcpi_dsack_dups=%u, tcpi_reord_seen=%u, tcpi_rcv_ooopack=%u,"
           " tcpi_delivered_ce=%u, tcpi_total_rto=%u, tcpi_total_rto_recoveries=%u,"
           " tcpi_total_rto_time=%u, tcpi_rehash=0, tcpi_received_ce=0,"
           " tcpi_fastopen_client_fail=%u, SK_MEMINFO_RCVBUF=%u, SK_MEMINFO_RMEM_ALLOC=%u)\n",
           i->segs_in, i->segs_out, i->data_segs_in, i->data_segs_out, i->delivered, i->dsack_dups,
           i->reord_seen, i->rcv_ooopack, i->delivered_ce, i->total_rto, i->total_rto_recoveries,
           i->total_rto_ms, i->fast_open_failure, i->rcv_buffer, i->rcv_memory);
}

void machine_code(struct machine *machine, const struct script_event *event)
{
    struct tcp_connection_info info = {.state = 7};
    if (machine->under_test != NULL && machine->under_test->connection != NULL)
        tcp_get_info(machine->stack, machine->under_test->connection, machine->now_ns, &info);
    if (info.state == 6)
        info.state = 7; /* a socket has nothing to do with TIME_WAIT on Linux */
    if (machine->code == NULL)
        append(machine, "%s", prologue);
    append_values(machine, &info);
    append(machine, "run(%u, '", event->line);
    for (const char *c = event->text; *c != '\0'; c++)
        append(machine, "%02x", (unsigned char)*c);
    append(machine, "')\n");
}

static void read_complaint(FILE *pipe, struct script_error *problem)
{
    char text[380];
    unsigned line = 0;
    int used = 0;
    size_t length = fread(text, 1, sizeof(text) - 1, pipe);
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (sscanf(text, "%u %n", &line, &used) != 1)
        used = 0;
    script_error_set(problem, line, "%s", text + used);
}

/* ---- Without python3 ---------------------------------------------------------------------- */

/** values(a=1, b=2) */
static void take_values(struct assertions *assertions, const char *text)
{
    char name[40];
    double value;
    int used;
    while (sscanf(text, " %39[A-Za-z0-9_]=%lf%n", name, &value, &used) == 2) {
        assertions_set(assertions, name, value);
        text += used;
        text += strspn(text, ", \n");
    }
}

/** run(12, '6173…') */
static enum assertions_result run_piece(struct assertions *assertions, const char *text,
                                        struct script_error *problem)
{
    char *hex, *code;
    unsigned line = (unsigned)strtoul(text, &hex, 10);
    hex += strspn(hex, ", '");
    size_t digits = strspn(hex, "0123456789abcdef");
    code = calloc(1, digits / 2 + 1);
    if (code == NULL)
        abort();
    for (size_t i = 0; i + 1 < digits; i += 2) {
        const char pair[3] = {hex[i], hex[i + 1], '\0'};
        code[i / 2] = (char)strtoul(pair, NULL, 16);
    }
    enum assertions_result result = assertions_run(assertions, line, code, problem);
    free(code);
    return result;
}

static enum assertions_result run_assertions(struct machine *machine)
{
    struct assertions *assertions = assertions_new();
    enum assertions_result result = ASSERTIONS_HOLD;
    const char *at = strstr(machine->code, "\nvalues(");
    for (; at != NULL && result == ASSERTIONS_HOLD; at = strchr(at, '\n')) {
        at++;
        if (strncmp(at, "values(", 7) == 0)
            take_values(assertions, at + 7);
        else if (strncmp(at, "run(", 4) == 0)
            result = run_piece(assertions, at + 4, machine->problem);
    }
    assertions_free(assertions);
    return result;
}

int machine_run_code(struct machine *machine)
{
    char path[] = "/tmp/pno-packetdrill-XXXXXX", command[128];
    if (machine->code == NULL)
        return 0;
    enum assertions_result known = run_assertions(machine);
    if (known != ASSERTIONS_UNKNOWN)
        return known == ASSERTIONS_HOLD ? 0 : -1;
    int fd = mkstemp(path), result = -1;
    if (fd < 0 || write(fd, machine->code, machine->code_length) != (ssize_t)machine->code_length) {
        script_error_set(machine->problem, 0, "can't write the script's code to %s", path);
        goto out;
    }
    snprintf(command, sizeof(command), "exec python3 -S %s 3>&2 2>&1", path);
    FILE *pipe = popen(command, "r");
    if (pipe == NULL) {
        script_error_set(machine->problem, 0, "can't start python3, which runs the code");
        goto out;
    }
    read_complaint(pipe, machine->problem);
    result = pclose(pipe) == 0 ? 0 : -1;
out:
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    return result;
}
