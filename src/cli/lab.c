/* `pno lab`: see lab.h. */
#include "lab.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "control_client.h"
#include "paths.h"
#include "wire/config.h"

struct lab_options {
    const char *name;
    enum lab_port port;
    bool port_given;
    const char *wire; /* pno-wire's settings; NULL: nothing between the wire's ends */
    char *words[2];   /* up | down | status | wire | exec, and exec's host | client */
    char **rest;      /* exec's program, up's options for pnod; NULL-terminated */
};

volatile sig_atomic_t lab_interrupted;

bool lab_fail(struct lab *lab, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(lab->message, sizeof(lab->message), format, arguments);
    va_end(arguments);
    return false;
}

bool lab_init(struct lab *lab, const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > LAB_NAME_MAX || !isalnum((unsigned char)name[0])) {
        return false;
    }
    for (const char *c = name; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_') {
            return false;
        }
    }
    *lab = (struct lab){.name = name};
    static const char *const suffixes[LAB_SPACE_COUNT] = {"host", "dpu", "client", "wire"};
    for (int space = 0; space < LAB_SPACE_COUNT; space++) {
        snprintf(lab->spaces[space], sizeof(lab->spaces[space]), "%s-%s", name, suffixes[space]);
    }
    snprintf(lab->socket, sizeof(lab->socket), LAB_RUN_FOLDER "/%s.sock", name);
    snprintf(lab->socket_lock, sizeof(lab->socket_lock), LAB_RUN_FOLDER "/%s.sock.lock", name);
    snprintf(lab->socket_key, sizeof(lab->socket_key), LAB_RUN_FOLDER "/%s.sock.key", name);
    snprintf(lab->log, sizeof(lab->log), LAB_RUN_FOLDER "/%s.log", name);
    snprintf(lab->pid_file, sizeof(lab->pid_file), LAB_RUN_FOLDER "/%s.pid", name);
    snprintf(lab->wire_log, sizeof(lab->wire_log), LAB_RUN_FOLDER "/%s.wire.log", name);
    snprintf(lab->wire_pid_file, sizeof(lab->wire_pid_file), LAB_RUN_FOLDER "/%s.wire.pid", name);
    snprintf(lab->lock, sizeof(lab->lock), LAB_RUN_FOLDER "/%s.lock", name);
    return true;
}

/*
 * One `up` or `down` of a name at a time. The file is removed by its holder at the end; so whoever
 * gets the lock of a removed file starts again.
 */
static int take_lock(struct lab *lab)
{
    if (mkdir(LAB_RUN_FOLDER, 0755) != 0 && errno != EEXIST) {
        lab_fail(lab, "cannot make " LAB_RUN_FOLDER ": %s", strerror(errno));
        return -1;
    }
    for (;;) {
        int fd = open(lab->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0 || flock(fd, LOCK_EX) != 0) {
            lab_fail(lab, "cannot lock %s: %s", lab->lock, strerror(errno));
            return -1;
        }
        struct stat held;
        struct stat named;
        if (fstat(fd, &held) == 0 && stat(lab->lock, &named) == 0 && held.st_ino == named.st_ino) {
            return fd;
        }
        close(fd);
    }
}

static void drop_lock(const struct lab *lab, int fd)
{
    (void)unlink(lab->lock);
    close(fd);
}

static void note_signal(int signal_number)
{
    lab_interrupted = signal_number;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = note_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* An engine that gives no answer is dying, or as good as dead. */
static bool is_up(const struct lab *lab)
{
    return lab_engine_pid(lab) != 0 && lab_engine_answers(lab) && lab_wire_exists(lab);
}

static bool remove_all(struct lab *lab)
{
    bool stopped = lab_engine_stop(lab);
    stopped = lab_impairment_stop(lab) && stopped;
    return lab_wire_remove(lab) && stopped;
}

static bool go_on(struct lab *lab)
{
    return !lab_interrupted || lab_fail(lab, "interrupted, everything is removed again");
}

/* An existing wire serves again if it has what is asked for: an impairment, or none. */
static bool wire_serves(const struct lab *lab, const char *impairment)
{
    return lab_wire_exists(lab) && lab_space_exists(lab, LAB_WIRE) == (impairment != NULL);
}

/* The steps of `up`, in order; an interrupt counts as a failure of the step it falls in. */
static bool bring_up(struct lab *lab, const struct lab_options *options)
{
    /* A lab whose engine died keeps its namespaces, for programs still live there. */
    if (!lab_engine_stop(lab)) {
        return false;
    }
    if (!wire_serves(lab, options->wire) &&
        (!lab_wire_remove(lab) || !lab_wire_make(lab, options->wire != NULL))) {
        return false;
    }
    if (options->wire != NULL && (!go_on(lab) || !lab_impairment_start(lab, options->wire))) {
        return false;
    }
    return go_on(lab) && lab_wire_prepare(lab, options->port) && go_on(lab) &&
           lab_engine_start(lab, options->port, options->rest) &&
           lab_wire_finish(lab, options->port) && go_on(lab);
}

static int up(struct lab *lab, const char *command, const struct lab_options *options)
{
    int lock = take_lock(lab);
    if (lock < 0) {
        cli_error(command, "%s", lab->message);
        return CLI_EXIT_FAILURE;
    }
    int status = CLI_EXIT_FAILURE;
    if (is_up(lab)) {
        cli_error(command,
                  "lab '%s' is already up (pnod is pid %d): take it down first with "
                  "'pno lab --name %s down'",
                  lab->name, (int)lab_engine_pid(lab), lab->name);
    } else {
        catch_signals();
        if (bring_up(lab, options)) {
            status = 0;
        } else {
            char why[LAB_MESSAGE_MAX];
            memcpy(why, lab->message, sizeof(why));
            if (lab_interrupted) {
                (void)unlink(lab->log);
            }
            (void)remove_all(lab);
            cli_error(command, "%s", why);
            status = lab_interrupted ? 128 + (int)lab_interrupted : CLI_EXIT_FAILURE;
        }
    }
    drop_lock(lab, lock);
    return status;
}

/* Whether anything is there that `down` removes. */
static bool exists(const struct lab *lab)
{
    bool any = lab_engine_pid(lab) != 0 || lab_impairment_pid(lab) != 0;
    for (int space = 0; space < LAB_SPACE_COUNT; space++) {
        any = any || lab_space_exists(lab, (enum lab_space)space);
    }
    return any;
}

/* No lab is what it is for, so there being none is no failure. */
static int down(struct lab *lab, const char *command)
{
    int lock = take_lock(lab);
    if (lock >= 0 && !exists(lab)) {
        printf("lab %s: not up, nothing to take down\n", lab->name);
    }
    if (lock < 0 || !remove_all(lab)) {
        cli_error(command, "%s", lab->message);
        if (lock >= 0) {
            drop_lock(lab, lock);
        }
        return CLI_EXIT_FAILURE;
    }
    (void)unlink(lab->log);
    drop_lock(lab, lock);
    return 0;
}

/* Change the impairment of a lab that is up; connections live on. */
static int rewire(struct lab *lab, const char *command, const char *settings)
{
    int lock = take_lock(lab);
    bool done =
        lock >= 0 &&
        (lab_space_exists(lab, LAB_WIRE) ||
         lab_fail(lab, "lab '%s' has no wire to change: take it up with --wire", lab->name)) &&
        lab_impairment_start(lab, settings);
    if (!done) {
        cli_error(command, "%s", lab->message);
    }
    if (lock >= 0) {
        drop_lock(lab, lock);
    }
    return done ? 0 : CLI_EXIT_FAILURE;
}

/* False if there is a wire and nothing joins its ends. */
static bool show_impairment(const struct lab *lab)
{
    if (!lab_space_exists(lab, LAB_WIRE)) {
        return true;
    }
    pid_t pid = lab_impairment_pid(lab);
    char settings[LAB_MESSAGE_MAX];
    lab_impairment_settings(lab, settings, sizeof(settings));
    if (pid == 0) {
        printf("  wire: its pno-wire has ended ('pno lab --name %s wire --wire SETTINGS' starts "
               "one)\n",
               lab->name);
    } else {
        printf("  wire %s, pno-wire pid %d\n", settings, (int)pid);
    }
    return pid != 0;
}

static int status(const struct lab *lab)
{
    pid_t pid = lab_engine_pid(lab);
    bool wired = lab_wire_exists(lab);
    if (pid == 0) {
        printf("lab %s: %s\n", lab->name,
               wired ? "its pnod has ended ('up' restarts it)" : "not up");
        return CLI_EXIT_FAILURE;
    }
    printf("lab %s: %s, pnod pid %d, socket %s, log %s\n", lab->name,
           wired ? "up" : "its namespaces are not whole", (int)pid, lab->socket, lab->log);
    char message[CONTROL_CLIENT_MESSAGE_MAX];
    json_t *ping = control_client_request(lab->socket, "ping", message);
    if (ping == NULL) {
        printf("  %s\n", message);
        return CLI_EXIT_FAILURE;
    }
    const char *port = json_string_value(json_object_get(ping, "port"));
    printf("  port %s\n  engine " LAB_ENGINE_V4 " " LAB_ENGINE_V6 "\n", port != NULL ? port : "?");
    printf("  client " LAB_CLIENT_V4 " " LAB_CLIENT_V6 "\n");
    json_decref(ping);
    wired = show_impairment(lab) && wired;
    return wired ? 0 : CLI_EXIT_FAILURE;
}

/* Our folders first, so that `pno` and `pnod` are the ones that made the lab. */
static bool set_environment(const struct lab *lab)
{
    char own[PATH_MAX];
    char engine[PATH_MAX];
    const char *present = getenv("PATH");
    if (!paths_own_folder(own)) {
        return false;
    }
    bool found = paths_find_pnod(engine);
    if (found) {
        *strrchr(engine, '/') = '\0';
    }
    bool separate = found && strcmp(own, engine) != 0;
    char *path;
    if (asprintf(&path, "%s%s%s:%s", own, separate ? ":" : "", separate ? engine : "",
                 present != NULL ? present : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin") <
        0) {
        return false;
    }
    bool done = setenv("PATH", path, 1) == 0 && setenv("PNO_SOCKET", lab->socket, 1) == 0;
    free(path);
    return done;
}

static int execute(struct lab *lab, const char *command, const char *where, char **program)
{
    enum lab_space space = strcmp(where, "host") == 0 ? LAB_HOST : LAB_CLIENT;
    if (!lab_space_enter(lab, space)) {
        cli_error(command, "%s", lab->message);
        return CLI_EXIT_FAILURE;
    }
    if (!set_environment(lab)) {
        cli_error(command, "cannot set the environment of '%s': %s", program[0], strerror(errno));
        return CLI_EXIT_FAILURE;
    }
    return cli_exec(command, program);
}

static enum lab_port parse_port(const char *command, const char *text)
{
    static const char *const names[] = {"af_xdp", "af_packet", "tap"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            return (enum lab_port)i;
        }
    }
    cli_usage_error(command, "no port '%s': af_xdp, af_packet or tap", text);
}

static const char *parse_wire(const char *command, const char *text)
{
    struct wire_config config;
    char problem[LAB_MESSAGE_MAX];
    if (!wire_config_parse(text, &config, problem, sizeof(problem))) {
        cli_usage_error(command, "--wire: %s", problem);
    }
    return text;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct lab_options *options = state->input;
    switch (key) {
    case 'n':
        options->name = argument;
        return 0;
    case 'p':
        options->port = parse_port(state->argv[0], argument);
        options->port_given = true;
        return 0;
    case 'w':
        options->wire = parse_wire(state->argv[0], argument);
        return 0;
    case ARGP_KEY_ARG: {
        bool after_dashes = state->quoted > 0 && state->next > state->quoted;
        if (options->words[0] == NULL && !after_dashes) {
            options->words[0] = argument;
        } else if (options->words[0] != NULL && strcmp(options->words[0], "exec") == 0 &&
                   options->words[1] == NULL) {
            options->words[1] = argument;
        } else if (after_dashes || options->words[1] != NULL) {
            options->rest = &state->argv[state->next - 1];
            state->next = state->argc;
        } else {
            return cli_parse_default(key, state);
        }
        return 0;
    }
    default:
        return cli_parse_default(key, state);
    }
}

static const struct argp_option lab_argp_options[] = {
    {"name", 'n', "NAME", 0, "the lab's name ('pno' if not given)", 0},
    {"port", 'p', "KIND", 0, "up: the engine's port: af_xdp (if not given), af_packet or tap", 0},
    {"wire", 'w', "SETTINGS", 0,
     "up, wire: what the wire does to frames, each way, some of " WIRE_CONFIG_HELP, 0},
    {0},
};

static const struct argp lab_argp = {
    .options = lab_argp_options,
    .parser = parse,
    .args_doc = "up [-- PNOD-OPTION...]\ndown\nstatus\nwire\nexec host|client -- CMD [ARG]...",
    .doc = "A server, its DPU and a client as network namespaces NAME-host (no network but lo), "
           "NAME-dpu (pnod, owning 10.77.0.1/24 and fd77::1/64) and NAME-client (10.77.0.2/24, "
           "fd77::2/64, kernel TCP).\v"
           "With --wire, pno-wire in NAME-wire impairs what passes between pnod and the client; "
           "'wire --wire SETTINGS' changes how, while connections live on. "
           "An application is offloaded by 'pno lab exec host -- pno run -- CMD'. Needs root.",
};

int command_lab(int argc, char **argv)
{
    struct lab_options options = {.name = "pno"};
    cli_parse(&lab_argp, argc, argv, &options);

    const char *word = options.words[0] != NULL ? options.words[0] : "";
    struct lab lab;
    if (!lab_init(&lab, options.name)) {
        cli_usage_error(argv[0], "'%s' can't name a lab: up to %d letters, digits, '-' and '_'",
                        options.name, LAB_NAME_MAX);
    }
    bool is_exec = strcmp(word, "exec") == 0;
    bool is_wire = strcmp(word, "wire") == 0;
    if (!is_exec && strcmp(word, "up") != 0 && strcmp(word, "down") != 0 &&
        strcmp(word, "status") != 0 && !is_wire) {
        cli_usage_error(argv[0], "say 'up', 'down', 'status', 'wire' or 'exec'%s%s%s",
                        word[0] != '\0' ? ", not '" : "", word, word[0] != '\0' ? "'" : "");
    }
    if (is_exec && (options.words[1] == NULL || (strcmp(options.words[1], "host") != 0 &&
                                                 strcmp(options.words[1], "client") != 0))) {
        cli_usage_error(argv[0], "exec where? 'host' or 'client'");
    }
    if (is_exec && options.rest == NULL) {
        cli_usage_error(argv[0], "exec which program? Give it after '--'");
    }
    if ((options.port_given || options.rest != NULL) && !is_exec && strcmp(word, "up") != 0) {
        cli_usage_error(argv[0], "--port and options for pnod go with 'up'");
    }
    if (is_wire ? options.wire == NULL : options.wire != NULL && strcmp(word, "up") != 0) {
        cli_usage_error(argv[0], is_wire ? "wire how? Say --wire SETTINGS"
                                         : "--wire goes with 'up' and 'wire'");
    }
    if (geteuid() != 0) {
        cli_error(argv[0], "network namespaces need root: run it as root");
        return CLI_EXIT_FAILURE;
    }
    if (is_exec) {
        return execute(&lab, argv[0], options.words[1], options.rest);
    }
    if (strcmp(word, "up") == 0) {
        return up(&lab, argv[0], &options);
    }
    if (is_wire) {
        return rewire(&lab, argv[0], options.wire);
    }
    return strcmp(word, "down") == 0 ? down(&lab, argv[0]) : status(&lab);
}
