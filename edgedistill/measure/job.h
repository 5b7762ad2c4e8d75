/* The job: what to load, what to feed it, the golden answers, and what is timed. */
#include "ort.h"

typedef struct {
    uint32_t count;
    char *names[MAX_NAMES];
    Value *values[MAX_NAMES];
} Feed;
typedef struct {
    uint32_t output, exact, axes;
    double scale;
    Dims picked, wanted;
    int64_t *index;
    double *values;
} Check;
typedef struct {
    uint32_t count;
    Check *answers;
} Checks; /* of one feed */
typedef struct {
    uint32_t count;
    Feed *rows;
} Feeds;
typedef struct {
    char *model;
    uint32_t threads, marked, min_runs, warm_max_passes, checked;
    double tolerance, min_s, max_s, warm_max_s, warm_min_s, warm_change;
    Feeds feeds, timed;
    Checks *checks;
} Job;

static unsigned char *cursor, *end;

static void take(void *into, size_t size) {
    if ((size_t)(end - cursor) < size) die("job", "cut short");
    memcpy(into, cursor, size);
    cursor += size;
}

static uint32_t take_u32(void) {
    uint32_t value;
    take(&value, sizeof value);
    return value;
}

static double take_f64(void) {
    double value;
    take(&value, sizeof value);
    return value;
}

static char *take_str(void) {
    uint32_t size = take_u32();
    char *text = room((size_t)size + 1);
    take(text, size);
    text[size] = 0;
    return text;
}

static Dims take_dims(void) {
    Dims found = {take_u32(), {0}};
    if (found.rank > MAX_RANK) die("job", "too many dimensions");
    take(found.dims, found.rank * sizeof(int64_t));
    return found;
}

static size_t product(const int64_t *dims, uint32_t rank) {
    size_t found = 1;
    for (uint32_t i = 0; i < rank; i++) found *= (size_t)dims[i];
    return found;
}

static void *take_array(size_t size) {
    if ((size_t)(end - cursor) < size) die("job", "cut short");
    void *found = room(size);
    take(found, size);
    return found;
}

/* The tensors of a feed that the session has an input for. */
static Feed take_feed(void) {
    Feed feed = {0};
    for (uint32_t left = take_u32(); left; left--) {
        char *name = take_str();
        int type = (int)take_u32();
        Dims shape = take_dims();
        uint64_t size;
        take(&size, sizeof size);
        void *data = take_array(size);
        size_t input = 0;
        while (input < input_count && strcmp(inputs[input], name)) input++;
        if (input == input_count || feed.count == MAX_NAMES) continue;
        feed.names[feed.count] = name;
        ok(api->CreateTensorWithDataAsOrtValue(memory, data, size, shape.dims, shape.rank, type, &feed.values[feed.count++]), name);
    }
    return feed;
}

/* The number of an output; an empty name is the first. */
static uint32_t take_output(void) {
    char *name = take_str();
    uint32_t output = 0;
    while (*name && output < output_count && strcmp(outputs[output], name)) output++;
    if (output == output_count) die(name, "is no output of the model");
    return output;
}

static Check take_check(void) {
    Check check = {.output = take_output()};
    check.exact = take_u32();
    check.scale = take_f64();
    check.axes = take_u32();
    if (check.axes > 3) die("job", "answers picked along more than three axes");
    if (check.axes) {
        check.picked = take_dims();
        check.index = take_array(check.axes * product(check.picked.dims, check.picked.rank) * sizeof(int64_t));
    }
    check.wanted = take_dims();
    check.values = take_array(product(check.wanted.dims, check.wanted.rank) * sizeof(double));
    return check;
}

static void read_job(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path, "cannot be read");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    cursor = room((size_t)size);
    end = cursor + size;
    if (fread(cursor, 1, (size_t)size, file) != (size_t)size) die(path, "cannot be read");
    fclose(file);
    char magic[4];
    take(magic, sizeof magic);
    if (memcmp(magic, "EDJ2", 4)) die(path, "is not a job");
}

static Job take_head(void) {
    Job job = {.model = take_str()};
    job.threads = take_u32();
    job.marked = take_u32();
    job.tolerance = take_f64();
    job.min_runs = take_u32();
    job.min_s = take_f64();
    job.max_s = take_f64();
    job.warm_max_passes = take_u32();
    job.warm_max_s = take_f64();
    job.warm_min_s = take_f64();
    job.warm_change = take_f64();
    return job;
}

static Feeds take_feeds(void) {
    Feeds feeds = {.count = take_u32()};
    feeds.rows = room(feeds.count * sizeof(Feed));
    for (uint32_t i = 0; i < feeds.count; i++) feeds.rows[i] = take_feed();
    return feeds;
}

static Checks take_checks(void) {
    Checks checks = {.count = take_u32()};
    checks.answers = room(checks.count * sizeof(Check));
    for (uint32_t i = 0; i < checks.count; i++) checks.answers[i] = take_check();
    return checks;
}

/* What needs a session: the names of its inputs and outputs. */
static void take_rows(Job *job) {
    job->feeds = take_feeds();
    if (!job->feeds.count) die("job", "no feeds");
    job->checked = take_u32();
    job->checks = room(job->feeds.count * sizeof(Checks));
    for (uint32_t i = 0; job->checked && i < job->feeds.count; i++) job->checks[i] = take_checks();
    job->timed = take_feeds();
    if (!job->timed.count) job->timed = job->feeds;
}
