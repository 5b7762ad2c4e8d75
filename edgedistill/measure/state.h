/* The machine's state: clocks, the kernel's counters, a probe of its speed. What cannot be read is absent. */
#include <glob.h>
#include <sys/resource.h>
#include <time.h>

enum { PROBES = 32, PROBE_LOOPS = 300000, QUARTERS = 4, TICKS = 8, IOWAIT = 4, STEAL = 7 };
#define CPUS "sys/devices/system/cpu/cpu*/"
enum { MEAN, MOST, SUM };

/* What agent.py reads in the same places. */
static const struct {
    const char *name, *pattern;
    int fold;
    double unit;
} readings[] = {
    {"mhz", CPUS "cpufreq/scaling_cur_freq", MEAN, 1e3},
    {"celsius", "sys/class/thermal/thermal_zone*/temp", MOST, 1e3},
    {"throttles", CPUS "thermal_throttle/core_throttle_count", SUM, 1},
    {"energy_uj", "sys/class/powercap/intel-rapl:0/energy_uj", MOST, 1},
    {"energy_wrap_uj", "sys/class/powercap/intel-rapl:0/max_energy_range_uj", MOST, 1},
    {"battery_uah", "sys/class/power_supply/battery/charge_counter", MOST, 1},
    {"battery_uv", "sys/class/power_supply/battery/voltage_now", MOST, 1},
};
enum { READINGS = sizeof readings / sizeof *readings };
typedef struct {
    double load_1min, values[READINGS], ticks, iowait, steal; /* NAN: absent */
    char governor[64];
    double cpu_s;
    long preempted;
} Reading;

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double now_s(void) { return seconds(CLOCK_MONOTONIC); }

/* A line of /proc/self/status in MiB. */
static double resident_mib(const char *field) {
    char line[256];
    double found = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, field, strlen(field))) found = atof(line + strlen(field) + 1) / 1024;
    if (file) fclose(file);
    return found;
}

/* Let VmHWM start anew, where the kernel allows it. */
static void reset_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

/* The first line of a file; 0 where there is none. */
static int first_line(const char *path, char *line, int size) {
    FILE *file = fopen(path, "r");
    int found = file && fgets(line, size, file) && *line != '\n';
    if (file) fclose(file);
    return found;
}

static glob_t under(const char *root, const char *pattern) {
    char path[4096];
    glob_t found = {0};
    snprintf(path, sizeof path, "%s/%s", root, pattern);
    if (glob(path, 0, NULL, &found)) found.gl_pathc = 0;
    return found;
}

/* The numbers of all files that are there, as one. */
static double folded(const char *root, const char *pattern, int fold) {
    glob_t files = under(root, pattern);
    double sum = 0, most = -INFINITY, count = 0;
    char line[256];
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (!first_line(files.gl_pathv[i], line, sizeof line)) continue;
        sum += atof(line);
        most = fmax(most, atof(line));
        count++;
    }
    globfree(&files);
    return !count ? NAN : fold == MEAN ? sum / count : fold == MOST ? most : sum;
}

static void read_governor(const char *root, Reading *into) {
    glob_t files = under(root, CPUS "cpufreq/scaling_governor");
    char line[64];
    for (size_t i = 0; i < files.gl_pathc && !*into->governor; i++)
        if (first_line(files.gl_pathv[i], line, sizeof line)) sscanf(line, "%63s", into->governor);
    globfree(&files);
}

/* user nice system idle iowait irq softirq steal; what follows is in them. */
static void read_ticks(const char *root, Reading *into) {
    char path[4096], line[512], *at = line + strlen("cpu");
    snprintf(path, sizeof path, "%s/proc/stat", root);
    into->ticks = into->iowait = into->steal = NAN;
    if (!first_line(path, line, sizeof line)) return;
    double ticks[TICKS], sum = 0;
    for (int i = 0; i < TICKS; i++) sum += ticks[i] = strtod(at, &at);
    into->ticks = sum;
    into->iowait = ticks[IOWAIT];
    into->steal = ticks[STEAL];
}

static Reading reading(const char *root) {
    Reading found = {.load_1min = folded(root, "proc/loadavg", MOST)};
    read_governor(root, &found);
    for (int i = 0; i < READINGS; i++) found.values[i] = folded(root, readings[i].pattern, readings[i].fold) / readings[i].unit;
    read_ticks(root, &found);
    found.cpu_s = seconds(CLOCK_PROCESS_CPUTIME_ID);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    found.preempted = used.ru_nivcsw;
    return found;
}

static void write_number(FILE *file, const char *name, double value) {
    if (!isnan(value)) fprintf(file, "\"%s\": %.15g, ", name, value);
}

static void write_reading(FILE *file, const Reading *state) {
    fputs("{", file);
    write_number(file, "load_1min", state->load_1min);
    if (*state->governor) fprintf(file, "\"governor\": \"%s\", ", state->governor);
    for (int i = 0; i < READINGS; i++) write_number(file, readings[i].name, state->values[i]);
    write_number(file, "ticks", state->ticks);
    write_number(file, "ticks_iowait", state->iowait);
    write_number(file, "ticks_steal", state->steal);
    write_number(file, "cpu_s", state->cpu_s);
    fprintf(file, "\"preempted\": %ld}", state->preempted);
}

/* A fixed chain of multiplications and additions, in ms: only the machine can change its time. */
static double probed(void) {
    static volatile uint32_t kept;
    double started = now_s();
    uint32_t value = kept | 1;
    for (int i = 0; i < PROBE_LOOPS; i++) value = value * 1664525u + 1013904223u;
    kept = value;
    return (now_s() - started) * 1e3;
}
