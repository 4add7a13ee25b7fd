/*
 * pno-packetdrill: runs packetdrill scripts against the core in virtual time. One line a script:
 * 'ok FILE' or 'not ok FILE: line N: why'.
 */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time_units.h"
#include "core/tcp/connection.h"
#include "core/tcp/options.h"
#include "machine.h"
#include "simulation/frame.h"

/** A call that sleeps longer than this has nothing to wait for. */
#define SLEEP_MAX_NS (4000 * NS_PER_S)
/** How long '*' waits for a packet. */
#define ANY_TIME_NS (4000 * NS_PER_S)

/** A call given as start...end, while it sleeps. */
struct sleeper {
    const struct script_event *event;
    uint64_t end_ns;
};

struct run {
    struct machine machine;
    struct script_error error;
    struct sleeper sleeper;  /**< event NULL: nobody */
    uint64_t base_ns;        /**< what a relative time counts from */
    volatile unsigned *line; /**< where the parent finds it when this process traps */
};

/* ---- Time --------------------------------------------------------------------------------- */

static uint64_t tolerance_ns(const struct run *run, uint64_t expected_ns, uint64_t since_ns)
{
    double percent = run->machine.tolerance_percent / 100 * (double)(expected_ns - since_ns);
    uint64_t dynamic_ns = expected_ns > since_ns ? (uint64_t)percent : 0;
    return dynamic_ns > run->machine.tolerance_ns ? dynamic_ns : run->machine.tolerance_ns;
}

static double seconds(const struct run *run, uint64_t time_ns)
{
    return (double)(int64_t)(time_ns - run->machine.start_ns) / 1e9;
}

/** @return whether now is within tolerance of [first, last]; tells when not. */
static bool on_time(struct run *run, unsigned line, const char *what, uint64_t actual_ns,
                    uint64_t first_ns, uint64_t last_ns)
{
    uint64_t slack_ns = tolerance_ns(run, last_ns, run->base_ns);
    if (actual_ns + slack_ns >= first_ns && actual_ns <= last_ns + slack_ns)
        return true;
    script_error_set(&run->error, line, "%s at %.6f s, expected at %.6f s", what,
                     seconds(run, actual_ns), seconds(run, first_ns));
    return false;
}

/* ---- Calls -------------------------------------------------------------------------------- */

static bool check_result(struct run *run, const struct script_event *event, int64_t result)
{
    const struct system_call *call = &event->call;
    bool known = true;
    if (call->result_any)
        return true;
    int64_t expected = node_integer(call->result, &known), wanted_error = 0;
    if (call->error != NULL && !symbol_find(call->error, &wanted_error)) {
        script_error_set(&run->error, event->line, "unknown error %s", call->error);
        return false;
    }
    bool any_error = call->error == NULL; /* the script does not say which */
    if (expected == -1 ? result < 0 && (any_error || result == -wanted_error) : result == expected)
        return true;
    if (result < 0)
        script_error_set(&run->error, event->line, "%s: expected %lld %s, got -1 %s", call->name,
                         (long long)expected, call->error == NULL ? "" : call->error,
                         symbol_errno_name((int)-result));
    else
        script_error_set(&run->error, event->line, "%s: expected %lld %s, got %lld", call->name,
                         (long long)expected, call->error == NULL ? "" : call->error,
                         (long long)result);
    return false;
}

/** Try a call once. @return 1 done, 0 sleeps, -1 failed. */
static int try_call(struct run *run, const struct script_event *event)
{
    struct script_error bad = {0};
    bool blocks = false;
    int64_t result = machine_call(&run->machine, &event->call, &blocks, &bad);
    if (bad.line != 0 && !(blocks && bad.line == 0)) {
        script_error_set(&run->error, event->line, "%s", bad.text);
        return -1;
    }
    if (blocks)
        return 0;
    run->machine.partly_written = 0;
    run->machine.partly_opened = false;
    return check_result(run, event, result) ? 1 : -1;
}

/** Whoever sleeps may go on now. @return -1 when its result is wrong or it is not on time. */
static int wake_sleeper(struct run *run)
{
    const struct script_event *event = run->sleeper.event;
    if (event == NULL)
        return 0;
    int done = try_call(run, event);
    if (done <= 0)
        return done;
    run->sleeper.event = NULL;
    return on_time(run, event->line, "the call returned", run->machine.now_ns, run->sleeper.end_ns,
                   run->sleeper.end_ns)
               ? 0
               : -1;
}

/** Let time pass until time_ns; sleepers wake in between. */
static int pass_time(struct run *run, uint64_t time_ns)
{
    while (machine_step(&run->machine, time_ns)) {
        if (wake_sleeper(run) < 0)
            return -1;
    }
    return wake_sleeper(run);
}

static int run_call(struct run *run, const struct script_event *event, uint64_t time_ns)
{
    if (pass_time(run, time_ns) < 0)
        return -1;
    if (run->sleeper.event != NULL) {
        script_error_set(&run->error, event->line, "a call while another sleeps (line %u)",
                         run->sleeper.event->line);
        return -1;
    }
    run->machine.call_started_ns = run->machine.now_ns;
    run->machine.partly_written = 0;
    run->machine.partly_opened = false;
    int done = try_call(run, event);
    uint64_t origin_ns = event->time_kind == TIME_ABSOLUTE ? run->machine.start_ns : run->base_ns;
    uint64_t end_ns = origin_ns + (uint64_t)event->call.end_ns;
    if (done < 0)
        return -1;
    if (event->call.blocks && done > 0)
        return on_time(run, event->line, "the call returned", run->machine.now_ns, end_ns, end_ns)
                   ? 0
                   : -1;
    if (done > 0)
        return 0;
    if (event->call.blocks) {
        run->sleeper.event = event;
        run->sleeper.end_ns = end_ns;
        return 0;
    }
    /* Not said to sleep, but it does: nothing can happen until it returns. */
    uint64_t limit_ns = run->machine.now_ns + SLEEP_MAX_NS;
    while (done == 0 && machine_step(&run->machine, limit_ns))
        done = try_call(run, event);
    if (done == 0)
        script_error_set(&run->error, event->line, "%s sleeps for ever", event->call.name);
    return done > 0 ? 0 : -1;
}

/* ---- Packets ------------------------------------------------------------------------------ */

/** The next frame of the flow that the script is about; others are passed over. */
static struct live_frame *next_sent(struct machine *machine)
{
    while (machine->sent != NULL) {
        struct live_frame *live = machine->sent;
        if (machine_frame_is_under_test(machine, live->frame))
            return live;
        machine->sent = live->next;
        if (machine->sent == NULL)
            machine->sent_tail = &machine->sent;
        free(live->frame);
        free(live);
    }
    return NULL;
}

static void drop_first(struct machine *machine)
{
    struct live_frame *live = machine->sent;
    machine->sent = live->next;
    if (machine->sent == NULL)
        machine->sent_tail = &machine->sent;
    free(live->frame);
    free(live);
}

static int wait_for_frame(struct run *run, uint64_t limit_ns)
{
    while (next_sent(&run->machine) == NULL) {
        if (!machine_step(&run->machine, limit_ns))
            return wake_sleeper(run);
        if (wake_sleeper(run) < 0)
            return -1;
    }
    return 0;
}

static int expect_frame(struct run *run, const struct script_event *event, uint64_t first_ns,
                        uint64_t last_ns, uint64_t *seen_ns)
{
    struct machine *machine = &run->machine;
    bool complete = false;
    machine->partly_seen = 0;
    while (!complete) {
        bool any = event->time_kind == TIME_ANY;
        uint64_t limit_ns = any ? machine->now_ns + ANY_TIME_NS
                                : last_ns + tolerance_ns(run, last_ns, run->base_ns);
        if (wait_for_frame(run, limit_ns) < 0)
            return -1;
        struct live_frame *live = next_sent(machine);
        if (live == NULL) {
            script_error_set(&run->error, event->line, "no packet was sent, expected at %.6f s",
                             seconds(run, first_ns));
            return -1;
        }
        if (machine_packet_out(machine, event, live, &complete) < 0)
            return -1;
        *seen_ns = live->time_ns;
        if (!any && !on_time(run, event->line, "the packet came", *seen_ns, first_ns, last_ns))
            return -1;
        drop_first(machine);
    }
    return 0;
}

/* ---- Events ------------------------------------------------------------------------------- */

/** --non_fatal=packet,syscall: what differs there is told and passed over. */
static bool is_not_fatal(const struct machine *machine, enum event_kind kind)
{
    return (kind == EVENT_PACKET && machine->packets_not_fatal) ||
           (kind == EVENT_CALL && machine->calls_not_fatal);
}

static int run_event(struct run *run, const struct script_event *event)
{
    struct machine *machine = &run->machine;
    uint64_t origin_ns = event->time_kind == TIME_ABSOLUTE ? machine->start_ns : run->base_ns;
    uint64_t first_ns = origin_ns + (uint64_t)event->time_ns;
    uint64_t last_ns = origin_ns + (uint64_t)event->time_end_ns;
    uint64_t seen_ns = first_ns;
    int result = 0;
    *run->line = event->line;
    if (event->kind == EVENT_CALL)
        result = run_call(run, event, first_ns);
    else if (event->kind == EVENT_PACKET && !event->packet.inbound)
        result = expect_frame(run, event, first_ns, last_ns, &seen_ns);
    else if ((result = pass_time(run, first_ns)) < 0)
        return result;
    else if (event->kind == EVENT_PACKET)
        result = machine_packet_in(machine, event);
    else if (event->kind == EVENT_COMMAND)
        result = machine_command(machine, event->text, event->line);
    else
        machine_code(machine, event);
    run->base_ns = event->time_kind == TIME_ANY || event->has_range ? seen_ns : first_ns;
    if (result < 0 && is_not_fatal(machine, event->kind)) {
        fprintf(stderr, "%s: line %u: warning: %s\n", machine->path, run->error.line,
                run->error.text);
        result = 0;
    }
    return result < 0 ? result : wake_sleeper(run);
}

static int run_events(struct run *run, const struct script *script)
{
    struct machine *machine = &run->machine;
    for (const struct script_option *o = script->options; o != NULL; o = o->next) {
        if (machine_option(machine, o) < 0)
            return -1;
    }
    for (const struct script_option *o = script->options; o != NULL; o = o->next) {
        if (strcmp(o->name, "init_scripts") == 0 &&
            machine_init_scripts(machine, o->value == NULL ? "" : o->value, o->line) < 0)
            return -1;
    }
    if (script->init_command != NULL &&
        machine_command(machine, script->init_command, script->init_line) < 0)
        return -1;
    if (machine_start(machine, 0) < 0)
        return -1;
    run->base_ns = machine->start_ns;
    for (const struct script_event *event = script->events; event != NULL; event = event->next) {
        if (run_event(run, event) < 0)
            return -1;
    }
    if (run->sleeper.event != NULL && pass_time(run, run->sleeper.end_ns + NS_PER_MS) < 0)
        return -1;
    if (run->sleeper.event != NULL) {
        script_error_set(&run->error, run->sleeper.event->line, "the call never returned");
        return -1;
    }
    return machine_run_code(machine);
}

static char *read_file(const char *path, struct script_error *error)
{
    FILE *file = fopen(path, "r");
    size_t capacity = 1 << 20;
    char *text = malloc(capacity);
    if (file == NULL || text == NULL) {
        script_error_set(error, 0, "%s", strerror(errno));
        if (file != NULL)
            fclose(file);
        free(text);
        return NULL;
    }
    size_t length = fread(text, 1, capacity - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

static bool has_option(const struct script_option *options, const char *name)
{
    while (options != NULL && strcmp(options->name, name) != 0)
        options = options->next;
    return options != NULL;
}

/** Before anything else is set up: which IP the wire and the sockets speak. */
static void choose_ip(struct machine *machine, const struct script_option *options)
{
    for (const struct script_option *o = options; o != NULL; o = o->next) {
        if (strcmp(o->name, "ip_version") != 0 || o->value == NULL)
            continue;
        machine->is_ipv6 = strcmp(o->value, "ipv6") == 0;
        machine->sockets_ipv6 = strcmp(o->value, "ipv4") != 0;
    }
}

static struct script_option *new_option(const char *name, const char *value)
{
    struct script_option *option = calloc(1, sizeof(*option));
    if (option == NULL || (option->name = strdup(name)) == NULL)
        abort();
    option->value = value == NULL ? NULL : strdup(value);
    return option;
}

/** As their usual callers do, a script whose name ends in v6 runs over IPv6, unless told otherwise.
 */
static const struct script_option *implied_options(const char *path,
                                                   const struct script_option *given)
{
    static const char ending[] = "v6.pkt";
    size_t length = strlen(path), end = sizeof(ending) - 1;
    if (has_option(given, "ip_version") || length < end || strcmp(path + length - end, ending) != 0)
        return given;
    struct script_option *version = new_option("ip_version", "ipv6");
    version->next = (struct script_option *)(uintptr_t)given;
    return version;
}

/** What whoever runs packetdrill's scripts customarily defines, by the kind of IP. */
static struct script_option *usual_definitions(const struct script_option *given, const char *text)
{
    struct run chosen = {0};
    choose_ip(&chosen.machine, given);
    if (!has_option(given, "ip_version") && strstr(text, "--ip_version=ipv6") != NULL)
        chosen.machine.is_ipv6 = chosen.machine.sockets_ipv6 = true;
    const char *const definitions[] = {
        chosen.machine.sockets_ipv6 ? "CMSG_LEVEL_IP=SOL_IPV6" : "CMSG_LEVEL_IP=SOL_IP",
        chosen.machine.sockets_ipv6 ? "CMSG_TYPE_RECVERR=IPV6_RECVERR"
                                    : "CMSG_TYPE_RECVERR=IP_RECVERR",
        chosen.machine.is_ipv6 ? "TFO_COOKIE=c1d1e9742a47a9bc" : "TFO_COOKIE=3021b9d889017eeb",
        chosen.machine.is_ipv6 ? "CODE=address_unreachable" : "CODE=host_unreachable",
    };
    struct script_option *first = NULL, **tail = &first;
    for (unsigned i = 0; i < sizeof(definitions) / sizeof(definitions[0]); i++) {
        *tail = new_option("define", definitions[i]);
        tail = &(*tail)->next;
    }
    for (; given != NULL; given = given->next, tail = &(*tail)->next)
        *tail = new_option(given->name, given->value);
    return first;
}

/** What the command line says comes last, so that it holds where the script says otherwise. */
static void append_options(struct script *script, const struct script_option *given)
{
    struct script_option **tail = &script->options;
    while (*tail != NULL)
        tail = &(*tail)->next;
    for (; given != NULL; given = given->next, tail = &(*tail)->next)
        *tail = new_option(given->name, given->value);
}

/** What the first SYN that goes out scales windows by, as the script has it; 0: it does not say. */
static uint8_t shown_window_scale(const struct script *script)
{
    const struct script_event *event = script->events;
    while (event != NULL && (event->kind != EVENT_PACKET || event->packet.inbound ||
                             (event->packet.flags & TCP_SYN) == 0))
        event = event->next;
    if (event == NULL)
        return 0;
    struct tcp_options options;
    tcp_options_parse(event->packet.options, event->packet.options_length, &options);
    return options.has_window_scale && options.window_scale <= TCP_WINDOW_SCALE_MAX
               ? options.window_scale
               : 0;
}

/** @return 0 when the script passed. Prints its line. */
static int run_script(const char *path, const struct script_option *given, volatile unsigned *line)
{
    struct run *run = calloc(1, sizeof(*run));
    struct script script;
    int result = -1;
    if (run == NULL)
        abort();
    run->line = line;
    run->machine.path = path;
    run->machine.problem = &run->error;
    char *text = read_file(path, &run->error);
    if (text != NULL && script_parse(text, usual_definitions(implied_options(path, given), text),
                                     &script, &run->error) == 0) {
        append_options(&script, given);
        choose_ip(&run->machine, script.options);
        machine_init(&run->machine);
        run->machine.window_scale = shown_window_scale(&script);
        result = has_option(script.options, "dry_run") ? 0 : run_events(run, &script);
        machine_free(&run->machine);
    }
    if (result == 0)
        printf("ok %s\n", path);
    else
        printf("not ok %s: line %u: %s\n", path, run->error.line, run->error.text);
    fflush(stdout);
    free(text);
    free(run);
    return result;
}

/** Each script in a process of its own: a trap in the core is that script's failure. */
static bool run_in_child(const char *path, const struct script_option *given,
                         volatile unsigned *line)
{
    int status;
    fflush(stdout);
    *line = 0;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        _exit(run_script(path, given, line) == 0 ? 0 : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) {
        printf("not ok %s: line 0: %s\n", path, strerror(errno));
        return false;
    }
    if (WIFSIGNALED(status))
        printf("not ok %s: line %u: %s\n", path, *line,
               WTERMSIG(status) == SIGALRM ? "hangs" : "a check of the core trapped");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct arguments {
    char **files;
    int count;
    struct script_option *given, **given_tail;
};

/**
 * packetdrill's own options, --name or --name=value, hold for every script; they are taken out
 * before argp sees the rest.
 */
static int take_script_options(struct arguments *arguments, int argc, char **argv)
{
    int left = 1;
    arguments->given_tail = &arguments->given;
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        struct script_option *option = NULL;
        if (strcmp(text, "-D") == 0 && i + 1 < argc) {
            option = new_option("define", argv[++i]);
        } else if (strncmp(text, "-D", 2) == 0 && text[2] != '\0') {
            option = new_option("define", text + 2);
        } else if (strncmp(text, "--", 2) == 0 && text[2] != '\0' && strcmp(text, "--help") != 0 &&
                   strcmp(text, "--usage") != 0) {
            char *name = strdup(text + 2);
            char *value = name == NULL ? NULL : strchr(name, '=');
            if (value != NULL)
                *value++ = '\0';
            option = new_option(name == NULL ? "" : name, value);
            free(name);
        } else if (strcmp(text, "-v") != 0) {
            argv[left++] = argv[i];
            continue;
        }
        if (option == NULL)
            continue;
        *arguments->given_tail = option;
        arguments->given_tail = &option->next;
    }
    argv[left] = NULL;
    return left;
}

static error_t parse_argument(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    (void)text;
    switch (key) {
    case ARGP_KEY_ARGS:
        arguments->files = state->argv + state->next;
        arguments->count = state->argc - state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        NULL,
        parse_argument,
        "[--NAME[=VALUE]] [-D NAME=VALUE] FILE...",
        "Run packetdrill scripts against the TCP/IP core in virtual time. Exit 0 when every one "
        "passed. Options are packetdrill's (--ip_version=ipv6, --mtu=1520, --tolerance_usecs=…) "
        "and hold for every script, whatever it says itself.",
        NULL,
        NULL,
        NULL};
    struct arguments arguments = {0};
    bool all_passed = true;
    argc = take_script_options(&arguments, argc, argv);
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    volatile unsigned *line =
        mmap(NULL, sizeof(*line), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (line == MAP_FAILED) {
        perror("pno-packetdrill: mmap");
        return 2;
    }
    for (int i = 0; i < arguments.count; i++)
        all_passed &= run_in_child(arguments.files[i], arguments.given, line);
    return all_passed ? 0 : 1;
}
