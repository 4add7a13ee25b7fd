/*
 * pno-simulate: two or more stacks in one process, over a bad wire, in virtual time.
 *
 * Runs are dealt out to worker processes, so that a trap in the core costs one worker, names its
 * seed, and lets the others go on.
 */
#include <argp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bottleneck.h"
#include "feature_pairs.h"
#include "world.h"

#define WORKERS_MAX     64
#define FAILURES_MAX    20
#define RUN_CPU_SECONDS 20 /**< a run that takes longer hangs in the core */
/** A bottleneck's run costs as much as tens of others. */
#define SEEDS_PER_BOTTLENECK 100
/** So many pairs want to be met within 20,000 runs. */
#define SEEDS_PER_PAIR 12

struct arguments {
    uint64_t seed, runs;
    const struct scenario *scenario;
    const struct bottleneck_scenario *bottleneck;
    unsigned workers;
    bool trace, list, verbose, both_ways, complete;
};

#define FEATURES_MAX 32

/** Shared by all workers. */
struct shared {
    atomic_uint_fast64_t next_run;
    atomic_uint_fast64_t failures;
    atomic_uint_fast64_t coverage[sizeof(struct coverage) / sizeof(uint64_t)];
    /* Of the scenario `pairs`: how often each came up. */
    atomic_uint_fast64_t features[FEATURES_MAX][FEATURES_MAX];
    atomic_uint_fast64_t congestion[TCP_CONGESTION_COUNT][TCP_CONGESTION_COUNT];
};

/** What the signal handler needs to name the run that trapped. */
static volatile uint64_t current_seed;
static const char *volatile current_scenario;
static struct shared *shared;

static const struct argp_option options[] = {
    {"seed", 's', "N", 0, "First seed (1)", 0},
    {"runs", 'r', "N", 0, "How many runs, with seeds counting up (1)", 0},
    {"scenario", 'c', "NAME", 0, "Only this scenario; else each seed chooses its own", 0},
    {"workers", 'j', "N", 0, "Processes (2)", 0},
    {"trace", 't', NULL, 0, "Print every frame", 0},
    {"both-ways", 'b', NULL, 0,
     "Each run again without header prediction: all must be the same to the bit", 0},
    {"verbose", 'v', NULL, 0, "Print at the end what the runs went through", 0},
    {"complete", 'a', NULL, 0, "Fail also when something in the list of --verbose never happened",
     0},
    {"list", 'l', NULL, 0, "List the scenarios", 0},
    {0},
};

static uint64_t parse_number(const char *text, struct argp_state *state)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        argp_error(state, "'%s' is not a number", text);
    return number;
}

static const struct bottleneck_scenario *bottleneck_by_name(const char *name)
{
    const struct bottleneck_scenario *scenario;
    for (unsigned i = 0; (scenario = bottleneck_scenario_by_number(i)) != NULL; i++)
        if (strcmp(scenario->name, name) == 0)
            return scenario;
    return NULL;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 's':
        arguments->seed = parse_number(text, state);
        return 0;
    case 'r':
        arguments->runs = parse_number(text, state);
        return 0;
    case 'j':
        arguments->workers = (unsigned)parse_number(text, state);
        if (arguments->workers == 0 || arguments->workers > WORKERS_MAX)
            argp_error(state, "between 1 and %u workers", WORKERS_MAX);
        return 0;
    case 'c':
        arguments->scenario = scenario_by_name(text);
        arguments->bottleneck = bottleneck_by_name(text);
        if (arguments->scenario == NULL && arguments->bottleneck == NULL)
            argp_error(state, "no scenario '%s'; --list shows them", text);
        return 0;
    case 't':
        arguments->trace = true;
        return 0;
    case 'b':
        arguments->both_ways = true;
        return 0;
    case 'v':
        arguments->verbose = true;
        return 0;
    case 'a':
        arguments->complete = true;
        return 0;
    case 'l':
        arguments->list = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static unsigned count_scenarios(void)
{
    unsigned count = 0;
    while (scenario_by_number(count) != NULL)
        count++;
    return count;
}

static void print_scenarios(void)
{
    const struct scenario *scenario;
    for (unsigned i = 0; (scenario = scenario_by_number(i)) != NULL; i++)
        printf("%-18s %s\n", scenario->name, scenario->what);
    const struct bottleneck_scenario *bottleneck;
    for (unsigned i = 0; (bottleneck = bottleneck_scenario_by_number(i)) != NULL; i++)
        printf("%-18s %s\n", bottleneck->name, bottleneck->what);
}

static void run_trapped(int signal_number)
{
    char line[160];
    const char *why = signal_number == SIGVTALRM ? "the core hangs" : "a check of the core trapped";
    int length = snprintf(line, sizeof(line), "FAIL seed=%llu scenario=%s %s (signal %d)\n",
                          (unsigned long long)current_seed, current_scenario, why, signal_number);
    if (length > 0 && write(STDOUT_FILENO, line, (size_t)length) < 0)
        _exit(4);
    atomic_fetch_add(&shared->failures, 1);
    _exit(3);
}

static void catch_traps(void)
{
    static const int signals[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGVTALRM};
    struct sigaction action = {.sa_handler = run_trapped};
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
}

/** One of the longer runs at a bottleneck: a seed in so many, unless asked for. */
static const struct bottleneck_scenario *bottleneck_for(const struct arguments *arguments,
                                                        uint64_t seed)
{
    uint64_t chance = random_mix(seed ^ UINT64_C(0x626f74746c65));
    if (arguments->bottleneck != NULL || arguments->scenario != NULL)
        return arguments->bottleneck;
    if (chance % SEEDS_PER_BOTTLENECK != 0)
        return NULL;
    unsigned count = 1;
    while (bottleneck_scenario_by_number(count) != NULL)
        count++;
    return bottleneck_scenario_by_number((unsigned)(chance / SEEDS_PER_BOTTLENECK % count));
}

static void run_bottleneck(const struct bottleneck_scenario *scenario, uint64_t seed, bool trace)
{
    current_scenario = scenario->name;
    const char *failure = scenario->run(seed, trace);
    if (failure == NULL)
        return;
    printf("FAIL seed=%llu scenario=%s %s\n", (unsigned long long)seed, scenario->name, failure);
    atomic_fetch_add(&shared->failures, 1);
}

/** Without header prediction the same must happen. */
static void run_whole_way(const struct scenario *scenario, uint64_t seed, uint64_t digest)
{
    const struct world_manner manner = {.no_prediction = true, .digests = true};
    struct world_result result = world_run(seed, scenario, &manner);
    if (!result.failed && result.digest == digest)
        return;
    printf("FAIL seed=%llu scenario=%s without header prediction it runs differently\n",
           (unsigned long long)seed, scenario->name);
    atomic_fetch_add(&shared->failures, 1);
}

static void count_run(const struct world_result *result)
{
    uint64_t counts[sizeof(struct coverage) / sizeof(uint64_t)];
    memcpy(counts, &result->coverage, sizeof(counts));
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        atomic_fetch_add_explicit(&shared->coverage[i], counts[i], memory_order_relaxed);
    if (result->features[0] == 0)
        return;
    unsigned first = result->features[0] - 1u, second = result->features[1] - 1u;
    if (first < second)
        atomic_fetch_add(&shared->features[first][second], 1);
    else
        atomic_fetch_add(&shared->features[second][first], 1);
    atomic_fetch_add(&shared->congestion[result->congestion[0]][result->congestion[1]], 1);
}

static void run_one(const struct arguments *arguments, uint64_t seed)
{
    const struct itimerval limit = {.it_value = {.tv_sec = RUN_CPU_SECONDS}};
    const struct scenario *scenario = arguments->scenario;
    if (scenario == NULL && random_mix(seed ^ UINT64_C(0x7061697273)) % SEEDS_PER_PAIR == 0)
        scenario = scenario_by_name("pairs");
    if (scenario == NULL)
        scenario = scenario_by_number((unsigned)(random_mix(seed) % count_scenarios()));
    const struct bottleneck_scenario *bottleneck = bottleneck_for(arguments, seed);
    current_seed = seed;
    current_scenario = scenario->name;
    if (!arguments->trace)
        setitimer(ITIMER_VIRTUAL, &limit, NULL);
    if (bottleneck != NULL) {
        run_bottleneck(bottleneck, seed, arguments->trace);
        return;
    }
    const struct world_manner manner = {.trace = arguments->trace, .digests = arguments->both_ways};
    struct world_result result = world_run(seed, scenario, &manner);
    if (result.failed)
        atomic_fetch_add(&shared->failures, 1);
    else if (arguments->both_ways)
        run_whole_way(scenario, seed, result.digest);
    count_run(&result);
}

static void work(const struct arguments *arguments)
{
    catch_traps();
    for (;;) {
        uint64_t run = atomic_fetch_add(&shared->next_run, 1);
        if (run >= arguments->runs || atomic_load(&shared->failures) >= FAILURES_MAX)
            return;
        run_one(arguments, arguments->seed + run);
    }
}

static bool start_worker(const struct arguments *arguments)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        work(arguments);
        fflush(stdout);
        _exit(0);
    }
    return pid > 0;
}

/** @return false when a worker could not be started or died without saying why. */
static bool run_workers(const struct arguments *arguments)
{
    unsigned running = 0;
    int status;
    for (unsigned i = 0; i < arguments->workers; i++)
        running += start_worker(arguments);
    if (running == 0)
        return false;
    while (running > 0) {
        if (wait(&status) < 0)
            return false;
        running--;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 3) {
            printf("FAIL a worker died with status %#x\n", status);
            return false;
        }
        running += start_worker(arguments); /* one run trapped; the others go on */
    }
    return true;
}

/** Which pairs came up, of all that there are. @return how many did not. */
static unsigned count_pairs(bool verbose)
{
    unsigned count = feature_count(), features = 0, congestion = 0;
    unsigned all_features = count * (count - 1) / 2;
    unsigned all_congestion = TCP_CONGESTION_COUNT * TCP_CONGESTION_COUNT;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = i + 1; j < count; j++)
            features += shared->features[i][j] != 0;
    for (unsigned i = 0; i < TCP_CONGESTION_COUNT; i++)
        for (unsigned j = 0; j < TCP_CONGESTION_COUNT; j++)
            congestion += shared->congestion[i][j] != 0;
    if (verbose)
        printf("%14u  of %u pairs of features\n%14u  of %u pairs of congestion controls\n",
               features, all_features, congestion, all_congestion);
    return all_features - features + all_congestion - congestion;
}

/** @return how much never happened. */
static unsigned count_coverage(bool verbose)
{
    unsigned missing = 0;
    static const char *const texts[] = {
#define COVERAGE_TEXT(name, text) text,
        COVERAGE_LIST(COVERAGE_TEXT)
#undef COVERAGE_TEXT
    };
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        missing += shared->coverage[i] == 0;
        if (verbose)
            printf("%14llu  %s\n", (unsigned long long)shared->coverage[i], texts[i]);
    }
    return missing + count_pairs(verbose);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse_option,
        NULL,
        "Run seeded simulations of the TCP/IP core; exit 0 when all hold. A failure prints one "
        "line with its seed; --seed N --trace shows it again.",
        NULL,
        NULL,
        NULL};
    struct arguments arguments = {.seed = 1, .runs = 1, .workers = 2};
    argp_parse(&argp, argc, argv, 0, NULL, &arguments);
    if (arguments.list) {
        print_scenarios();
        return 0;
    }
    if (feature_count() > FEATURES_MAX)
        abort();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("pno-simulate: mmap");
        return 2;
    }
    /* Nothing is lost when the core traps, or somebody ends us. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    bool ok = true;
    if (arguments.runs == 1)
        work(&arguments);
    else
        ok = run_workers(&arguments);
    unsigned missing = count_coverage(arguments.verbose);
    if (arguments.complete && missing != 0) {
        printf("FAIL %u things never happened (--verbose says which)\n", missing);
        ok = false;
    }
    uint64_t failures = atomic_load(&shared->failures);
    uint64_t runs = atomic_load(&shared->next_run);
    printf("%llu runs, %llu failed\n",
           (unsigned long long)(runs < arguments.runs ? runs : arguments.runs),
           (unsigned long long)failures);
    return ok && failures == 0 ? 0 : 1;
}
