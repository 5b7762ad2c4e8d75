/* What runs on a device without Python: load one model in a fresh process, check its answers, time it, write raw numbers.
 *
 *     runner LIBONNXRUNTIME JOB RESULT.json [ANSWERS]
 *     runner ROOT      print what can be read of the machine whose files lie under ROOT: / for this one
 *
 * It does what agent.py does, phase by phase, and writes the same keys. ONNX Runtime is loaded by name, nothing else but libc is needed.
 * It exits with 7 where the library cannot be used here, with 2 for everything else that goes wrong. JOB and ANSWERS are little-endian; str is a u32 and its bytes, dims a u32 and so many i64:
 *
 *     JOB      "EDJ2"  str model  u32 threads  u32 marked  f64 tolerance
 *              u32 min_runs  f64 min_s  f64 max_s  u32 warm_max_passes  f64 warm_max_s  f64 warm_min_s  f64 warm_change
 *              u32 feeds     each: u32 tensors, each: str name  u32 type  dims  u64 size  bytes
 *              u32 checked   1: for each feed u32 answers, each: str output (none: the first)  u32 exact  f64 scale
 *                            u32 axes  (axes > 0: dims  i64 index[axes][entries])  dims  f64 values
 *              u32 timed     feeds like those before, that are timed in their place; 0: those before are
 *     ANSWERS  for each feed its first output: u32 type  dims  u64 size  bytes
 *
 * `axes` index arrays pick answers as NumPy does: raw[index[0], index[1], ...]; 0 takes the raw answer whole. Where not `exact`, an answer
 * may have more columns than the golden one. Differences are shares of `scale`.
 * Where `marked`, each timed run lies between two system calls that no kernel has: an emulator's plugin counts what is between them.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#include "answers.h"
#include "state.h"

enum { MARK = 0x7ED1 };

typedef struct {
    double *ms;
    size_t count, room;
} Samples;

/* One run in ms; its outputs stay in `kept` where that is asked for. */
static double run(const Feed *feed, long mark, Value **kept) {
    Value *released[MAX_NAMES] = {0}, **found = kept ? kept : released;
    if (mark >= 0) syscall(MARK, mark);
    double started = now_s();
    Status *status = api->Run(session, NULL, (const char *const *)feed->names, (const Value *const *)feed->values, feed->count,
                              (const char *const *)outputs, output_count, found);
    double ms = (now_s() - started) * 1e3;
    if (mark >= 0) syscall(MARK, -1L);
    ok(status, "run");
    for (size_t i = 0; !kept && i < output_count; i++) api->ReleaseValue(found[i]);
    return ms;
}

/* Ask for every answer once, where anybody wants them. */
static double ask(const Job *job, const char *answers) {
    FILE *file = answers ? fopen(answers, "wb") : NULL;
    if (answers && !file) die(answers, strerror(errno));
    double worst = 0;
    for (uint32_t i = 0; (job->checked || file) && i < job->feeds.count; i++) {
        Value *found[MAX_NAMES] = {0};
        run(&job->feeds.rows[i], -1, found);
        for (uint32_t j = 0; job->checked && j < job->checks[i].count; j++) {
            const Check *check = &job->checks[i].answers[j];
            Answer answer = look(found[check->output]);
            worst = fmax(worst, difference(check, &answer));
        }
        if (file) {
            Answer first = look(found[0]);
            keep(file, &first);
        }
        for (size_t j = 0; j < output_count; j++) api->ReleaseValue(found[j]);
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
        for (uint32_t i = 0; i < job->timed.count; i++) add(&samples, run(&job->timed.rows[i], -1, NULL));
        double median = upper_median(samples.ms + samples.count - job->timed.count, job->timed.count);
        if (pass && fabs(median / before - 1) <= job->warm_change && now_s() - started >= job->warm_min_s) break;
        before = median;
    }
    return samples;
}

static int is_run(const Job *job) { return job->min_runs || job->min_s > 0; }

/* Marked runs are counted: an emulator's clock says nothing. */
static int is_timed(const Job *job) { return is_run(job) && !job->marked; }

/* The share of the way: 1 at min_runs samples and min_s seconds inside them, whichever comes last. */
static double way(const Job *job, size_t runs, double spent_ms) {
    double by_runs = job->min_runs ? (double)runs / job->min_runs : INFINITY;
    double by_time = job->min_s > 0 ? spent_ms / 1e3 / job->min_s : INFINITY;
    return fmin(by_runs, by_time);
}

/* Resident memory less what the samples take: they are ours, not the model's. */
static double grown_mib(const Samples *samples) {
    return resident_mib("VmRSS") - (double)(samples->count * sizeof(double)) / (1 << 20);
}

/* Samples of whole passes over the rows until the way is gone, and the resident memory at the start and after each quarter. No pass but the
 * first begins after max_s seconds. */
static Samples steady(const Job *job, Samples *resident) {
    Samples samples = {0};
    double spent_ms = 0, gone = 0, started = now_s();
    if (is_timed(job)) add(resident, grown_mib(&samples));
    while (is_run(job) && gone < 1 && (!samples.count || now_s() - started < job->max_s)) {
        for (uint32_t i = 0; i < job->timed.count; i++) {
            add(&samples, run(&job->timed.rows[i], job->marked ? (long)i : -1, NULL));
            spent_ms += samples.ms[samples.count - 1];
        }
        gone = way(job, samples.count, spent_ms);
        while (is_timed(job) && (double)resident->count <= fmin(gone, 1) * QUARTERS) add(resident, grown_mib(&samples));
    }
    return samples;
}

static Samples probe(const Job *job) {
    Samples samples = {0};
    for (int i = 0; is_timed(job) && i < PROBES; i++) add(&samples, probed());
    return samples;
}

static void write_samples(FILE *file, const char *name, const Samples *samples) {
    fprintf(file, ", \"%s\": [", name);
    for (size_t i = 0; i < samples->count; i++) fprintf(file, "%s%.9g", i ? ", " : "", samples->ms[i]);
    fputs("]", file);
}

static void write_state(FILE *file, const char *name, const Job *job, const Reading *state) {
    fprintf(file, ", \"%s\": ", name);
    if (is_timed(job)) write_reading(file, state);
    else fputs("{}", file);
}

static int show(const char *root) {
    Reading state = reading(root);
    write_reading(stdout, &state);
    puts("");
    return 0;
}

int main(int count, char **words) {
    if (count == 2) return show(words[1]);
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
    take_rows(&job);
    double first_ms = run(&job.timed.rows[0], -1, NULL);
    double wrong = ask(&job, count > 4 ? words[4] : NULL);
    Samples warmups = warm_up(&job), probe_before = probe(&job), resident = {0};
    Reading state_before = reading("/");
    Samples samples = steady(&job, &resident);
    Reading state_after = reading("/");
    Samples probe_after = probe(&job);

    FILE *file = fopen(words[3], "w");
    if (!file) die(words[3], strerror(errno));
    fprintf(file, "{\"status\": \"%s\", \"worst_difference\": ", wrong > job.tolerance ? "wrong" : "ok");
    fprintf(file, isinf(wrong) ? "Infinity" : "%.17g", wrong);
    fprintf(file, ", \"import_ms\": %.9g, \"load_ms\": %.9g, \"first_ms\": %.9g", import_ms, load_ms, first_ms);
    write_samples(file, "warmups_ms", &warmups);
    write_samples(file, "samples_ms", &samples);
    write_samples(file, "resident_mib", &resident);
    write_state(file, "before", &job, &state_before);
    write_state(file, "after", &job, &state_after);
    write_samples(file, "probe_before_ms", &probe_before);
    write_samples(file, "probe_after_ms", &probe_after);
    fprintf(file, ", \"baseline_mib\": %.9g, \"peak_mib\": %.9g", before, resident_mib("VmHWM") - before);
    fprintf(file, ", \"onnxruntime\": \"%s\", \"providers\": [\"CPUExecutionProvider\"]}\n", version);
    finish(file, words[3]);
    return 0;
}
