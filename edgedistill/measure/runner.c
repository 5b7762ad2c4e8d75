/* What runs on a device without Python: load one model in a fresh process, check its answers, time it, write raw numbers.
 *
 *     runner LIBONNXRUNTIME JOB RESULT.json [ANSWERS]
 *
 * It does what agent.py does, phase by phase, and writes the same keys. ONNX Runtime is loaded by name, nothing else but libc is needed.
 * JOB and ANSWERS are little-endian; str is a u32 and its bytes, dims a u32 and so many i64:
 *
 *     JOB      "EDJ1"  str model  u32 threads  u32 marked  f64 tolerance
 *              u32 min_runs  f64 min_s  u32 warm_max_passes  f64 warm_max_s  f64 warm_min_s  f64 warm_change
 *              u32 feeds     each: u32 tensors, each: str name  u32 type  dims  u64 size  bytes
 *              u32 checked   1: for each feed the golden answers of its first output:
 *                            u32 axes  (axes > 0: dims  i64 index[axes][entries])  dims  f64 values
 *     ANSWERS  for each feed its first output: u32 type  dims  u64 size  bytes
 *
 * `axes` index arrays pick answers as NumPy does: raw[index[0], index[1], ...]; 0 takes the raw answer whole.
 * Where `marked`, each timed run lies between two system calls that no kernel has: an emulator's plugin counts what is between them.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "answers.h"

enum { MARK = 0x7ED1 };

typedef struct {
    double *ms;
    size_t count, room;
} Samples;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

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

/* One run in ms; its first output stays in `first` where that is asked for. */
static double run(const Feed *feed, long mark, Value **first) {
    Value *found[MAX_NAMES] = {0};
    if (mark >= 0) syscall(MARK, mark);
    double started = now_s();
    Status *status = api->Run(session, NULL, (const char *const *)feed->names, (const Value *const *)feed->values, feed->count,
                              (const char *const *)outputs, output_count, found);
    double ms = (now_s() - started) * 1e3;
    if (mark >= 0) syscall(MARK, -1L);
    ok(status, "run");
    for (size_t i = first ? 1 : 0; i < output_count; i++) api->ReleaseValue(found[i]);
    if (first) *first = found[0];
    return ms;
}

/* Ask for every answer once, where anybody wants them. */
static double ask(const Job *job, const char *answers) {
    FILE *file = answers ? fopen(answers, "wb") : NULL;
    if (answers && !file) die(answers, strerror(errno));
    double worst = 0;
    for (uint32_t i = 0; (job->checked || file) && i < job->feed_count; i++) {
        Value *value;
        run(&job->feeds[i], -1, &value);
        Answer answer = look(value);
        if (job->checked) worst = fmax(worst, difference(&job->checks[i], &answer));
        if (file) keep(file, &answer);
        api->ReleaseValue(value);
    }
    if (file) finish(file, answers);
    return worst;
}

static void add(Samples *samples, double ms) {
    if (samples->count == samples->room) {
        samples->room = samples->room * 2 + 64;
        samples->ms = realloc(samples->ms, samples->room * sizeof(double));
        if (!samples->ms) die("memory", "none left");
    }
    samples->ms[samples->count++] = ms;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double upper_median(const double *values, size_t count) {
    double *sorted = room(count * sizeof(double));
    memcpy(sorted, values, count * sizeof(double));
    qsort(sorted, count, sizeof(double), ascending);
    double found = sorted[count / 2];
    free(sorted);
    return found;
}

static Samples warm_up(const Job *job) {
    Samples samples = {0};
    double before = 0, started = now_s();
    for (uint32_t pass = 0; pass < job->warm_max_passes && now_s() - started < job->warm_max_s; pass++) {
        for (uint32_t i = 0; i < job->feed_count; i++) add(&samples, run(&job->feeds[i], -1, NULL));
        double median = upper_median(samples.ms + samples.count - job->feed_count, job->feed_count);
        if (pass && fabs(median / before - 1) <= job->warm_change && now_s() - started >= job->warm_min_s) break;
        before = median;
    }
    return samples;
}

/* At least min_runs samples and at least min_s seconds inside them, whole passes over the rows. */
static Samples steady(const Job *job) {
    Samples samples = {0};
    double spent_ms = 0;
    while (samples.count < job->min_runs || spent_ms < job->min_s * 1e3)
        for (uint32_t i = 0; i < job->feed_count; i++) {
            add(&samples, run(&job->feeds[i], job->marked ? (long)i : -1, NULL));
            spent_ms += samples.ms[samples.count - 1];
        }
    return samples;
}

static void write_samples(FILE *file, const char *name, const Samples *samples) {
    fprintf(file, ", \"%s\": [", name);
    for (size_t i = 0; i < samples->count; i++) fprintf(file, "%s%.9g", i ? ", " : "", samples->ms[i]);
    fputs("]", file);
}

int main(int count, char **words) {
    if (count < 4) die("usage", "runner LIBONNXRUNTIME JOB RESULT.json [ANSWERS]");
    Env *env;
    read_job(words[2]);
    Job job = take_head();
    double started = now_s();
    const char *version = load_runtime(words[1], &env);
    double import_ms = (now_s() - started) * 1e3, before = resident_mib("VmRSS");
    reset_peak();
    started = now_s();
    open_session(env, job.model, job.threads);
    double load_ms = (now_s() - started) * 1e3;
    take_feeds(&job);
    double first_ms = run(&job.feeds[0], -1, NULL);
    double wrong = ask(&job, count > 4 ? words[4] : NULL);
    Samples warmups = warm_up(&job), samples = steady(&job);

    FILE *file = fopen(words[3], "w");
    if (!file) die(words[3], strerror(errno));
    fprintf(file, "{\"status\": \"%s\", \"worst_difference\": ", wrong > job.tolerance ? "wrong" : "ok");
    fprintf(file, isinf(wrong) ? "Infinity" : "%.17g", wrong);
    fprintf(file, ", \"import_ms\": %.9g, \"load_ms\": %.9g, \"first_ms\": %.9g", import_ms, load_ms, first_ms);
    write_samples(file, "warmups_ms", &warmups);
    write_samples(file, "samples_ms", &samples);
    fprintf(file, ", \"baseline_mib\": %.9g, \"peak_mib\": %.9g", before, resident_mib("VmHWM") - before);
    fprintf(file, ", \"onnxruntime\": \"%s\", \"providers\": [\"CPUExecutionProvider\"]}\n", version);
    finish(file, words[3]);
    return 0;
}
