/* `pno run`: become a program whose socket calls libpno.so serves. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "control_client.h"
#include "hostlink/policy_rule.h"
#include "paths.h"
#include "program_kind.h"

struct run_options {
    const char *socket;
    const char *log;
    char **program;
};

static bool is_log_level(const char *level)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (strcmp(level, levels[i]) == 0) {
            return true;
        }
    }
    return false;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct run_options *options = state->input;
    switch (key) {
    case 's':
        options->socket = argument;
        return 0;
    case 'l':
        if (!is_log_level(argument)) {
            cli_usage_error(state->argv[0], "no log level '%s': error, warning, info or debug",
                            argument);
        }
        options->log = argument;
        return 0;
    case ARGP_KEY_ARG:
        options->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        cli_usage_error(state->argv[0], "which program? Give it after '--'");
    default:
        return cli_parse_default(key, state);
    }
}

static const struct argp_option run_argp_options[] = {
    {"socket", 's', "PATH", 0, "pnod's control socket (else $PNO_SOCKET, else /run/pno/pnod.sock)",
     0},
    {"log", 'l', "LEVEL", 0, "what libpno.so reports: error, warning, info or debug", 0},
    {0},
};

static const struct argp run_argp = {
    .options = run_argp_options,
    .parser = parse,
    .args_doc = "-- CMD [ARG]...",
    .doc =
        "Run CMD with its TCP served by pnod: same process, same arguments, same exit status.\v"
        "Where CMD can't be offloaded (no pnod, statically linked, ...) it runs all the same, on "
        "kernel TCP, and one line on standard error says so. PNO_LOOPBACK=1 in the environment "
        "sends 127.0.0.0/8 and ::1 through the engine too; PNO_POLICY holds rules about what is "
        "offloaded, separated by ';', that go before pnod's (see pno(1)).",
};

/* Appended, so that a library which the user preloads still sees the calls first. */
static bool set_preload(const char *library)
{
    const char *present = getenv("LD_PRELOAD");
    if (present == NULL || present[0] == '\0') {
        return setenv("LD_PRELOAD", library, 1) == 0;
    }
    if (strstr(present, library) != NULL) {
        return true;
    }
    char *joined;
    if (asprintf(&joined, "%s:%s", present, library) < 0) {
        return false;
    }
    bool done = setenv("LD_PRELOAD", joined, 1) == 0;
    free(joined);
    return done;
}

/* A program built with the address sanitizer insists on being first among the libraries; behind
   libpno.so, whose calls it then sees as libc would, it works as well. */
static bool allow_address_sanitizer(void)
{
    static const char option[] = "verify_asan_link_order=0";
    const char *present = getenv("ASAN_OPTIONS");
    if (present == NULL || present[0] == '\0') {
        return setenv("ASAN_OPTIONS", option, 1) == 0;
    }
    char *joined;
    if (asprintf(&joined, "%s:%s", present, option) < 0) {
        return false;
    }
    bool done = setenv("ASAN_OPTIONS", joined, 1) == 0;
    free(joined);
    return done;
}

static void check_policy(const char *command)
{
    struct link_policy_rule rules[LINK_POLICY_RULES_MAX];
    uint32_t count;
    char problem[200];
    const char *text = getenv("PNO_POLICY");
    if (text != NULL &&
        link_policy_parse_list(text, rules, &count, problem, sizeof(problem)) != 0) {
        cli_usage_error(command, "PNO_POLICY: %s", problem);
    }
}

int command_run(int argc, char **argv)
{
    struct run_options options = {0};
    cli_parse(&run_argp, argc, argv, &options);
    check_policy(argv[0]);

    const char *name = options.program[0];
    char space[PATH_MAX];
    char library[PATH_MAX];
    /* Absolute: servers change their folder before their first socket. */
    const char *socket_path = paths_absolute(paths_control_socket(options.socket), space);
    if (!paths_find_libpno(library)) {
        cli_error(argv[0],
                  "libpno.so is not next to this pno: build it (ninja) or install PnO again");
        return CLI_EXIT_FAILURE;
    }
    if (strpbrk(library, " :") != NULL) {
        cli_error(argv[0], "LD_PRELOAD can't name '%s' for its space or colon: move PnO elsewhere",
                  library);
        return CLI_EXIT_FAILURE;
    }
    bool refuses;
    const char *obstacle = program_kind_obstacle(name, &refuses);
    if (obstacle != NULL) {
        cli_error(argv[0], "'%s' stays on kernel TCP: %s", name, obstacle);
    } else {
        int error = control_client_probe(socket_path);
        if (error != 0) {
            cli_error(argv[0], "'%s' stays on kernel TCP: no pnod at %s (%s)", name, socket_path,
                      strerror(error));
        }
    }
    if ((!refuses && !set_preload(library)) || !allow_address_sanitizer() ||
        setenv("PNO_SOCKET", socket_path, 1) != 0 ||
        (options.log != NULL && setenv("PNO_LOG", options.log, 1) != 0)) {
        cli_error(argv[0], "cannot set the environment of '%s': %s", name, strerror(errno));
        return CLI_EXIT_FAILURE;
    }
    return cli_exec(argv[0], options.program);
}
