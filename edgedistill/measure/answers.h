/* What the model answers: read, compared with the golden answers, written down. */
#include <errno.h>
#include <math.h>

#include "job.h"

typedef struct {
    int type;
    Dims shape;
    unsigned char *data;
} Answer;

static size_t width(int type) {
    static const unsigned char widths[] = {[F32] = 4, [U8] = 1, [I8] = 1, [U16] = 2, [I16] = 2, [I32] = 4, [I64] = 8,
                                           [BOOL] = 1, [F16] = 2, [F64] = 8, [U32] = 4, [U64] = 8};
    size_t found = type > 0 && type < (int)sizeof widths ? widths[type] : 0;
    if (!found) die("answer", "of a type that is not read here");
    return found;
}

static Answer look(Value *value) {
    Answer answer = {0};
    Shape *info;
    size_t rank;
    ok(api->GetTensorTypeAndShape(value, &info), "answer");
    ok(api->GetDimensionsCount(info, &rank), "answer");
    if (rank > MAX_RANK) die("answer", "has too many dimensions");
    answer.shape.rank = (uint32_t)rank;
    ok(api->GetDimensions(info, answer.shape.dims, rank), "answer");
    ok(api->GetTensorElementType(info, &answer.type), "answer");
    ok(api->GetTensorMutableData(value, (void **)&answer.data), "answer");
    api->ReleaseTensorTypeAndShapeInfo(info);
    return answer;
}

/* IEEE's binary16: a sign, five bits of exponent, ten of fraction. */
static double half(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 31 ? (fraction ? NAN : INFINITY) : ldexp(exponent ? 1024 + fraction : fraction, exponent ? exponent - 25 : -24);
    return bits >> 15 ? -size : size;
}

static double number(const Answer *answer, size_t at) {
    const unsigned char *place = answer->data + at * width(answer->type);
    union { float f32; double f64; int8_t i8; uint8_t u8; int16_t i16; uint16_t u16; int32_t i32; uint32_t u32; int64_t i64; uint64_t u64; } value = {0};
    memcpy(&value, place, width(answer->type));
    switch (answer->type) {
    case F32: return (double)value.f32;
    case F64: return value.f64;
    case F16: return half(value.u16);
    case I8: return (double)value.i8;
    case BOOL:
    case U8: return (double)value.u8;
    case I16: return (double)value.i16;
    case U16: return (double)value.u16;
    case I32: return (double)value.i32;
    case U32: return (double)value.u32;
    case I64: return (double)value.i64;
    default: return (double)value.u64;
    }
}

/* Where entry number `entry` of the picked answers begins in the raw ones, or -1. */
static long long begin(const Check *check, const Dims *raw, size_t entries, size_t entry) {
    long long at = 0;
    for (uint32_t axis = 0; axis < check->axes; axis++) {
        int64_t index = check->index[axis * entries + entry];
        if (index < 0 || index >= raw->dims[axis]) return -1;
        at = at * raw->dims[axis] + index;
    }
    return at;
}

/* The largest difference from the golden answers as a share of their scale; infinite where the shapes differ, or an answer is no number. */
static double difference(const Check *check, const Answer *answer) {
    const Dims *raw = &answer->shape, *wanted = &check->wanted;
    if (raw->rank < check->axes) return INFINITY;
    Dims found = check->picked;
    uint32_t rest = raw->rank - check->axes;
    if (found.rank + rest != wanted->rank || (wanted->rank < 2 && !check->exact)) return INFINITY;
    memcpy(found.dims + found.rank, raw->dims + check->axes, rest * sizeof(int64_t));
    for (uint32_t i = 0; i < wanted->rank; i++) /* more columns than golden ones are cut off, but where the whole output counts */
        if (i == 1 && !check->exact ? found.dims[i] < wanted->dims[i] : found.dims[i] != wanted->dims[i]) return INFINITY;
    size_t entries = product(check->picked.dims, check->picked.rank), tail = product(raw->dims + check->axes, rest);
    size_t count = product(wanted->dims, wanted->rank), kept = count, whole = count; /* of a row: what is compared, and all of it */
    if (wanted->rank > 1) {
        size_t below = product(wanted->dims + 2, wanted->rank - 2);
        kept = (size_t)wanted->dims[1] * below;
        whole = (size_t)found.dims[1] * below;
    }
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = i / kept * whole + i % kept;
        long long start = begin(check, raw, entries, at / tail);
        double off = start < 0 ? INFINITY : fabs(number(answer, (size_t)start * tail + at % tail) - check->values[i]) / check->scale;
        if (!(off <= worst)) worst = isnan(off) ? INFINITY : off;
    }
    return worst;
}

static void keep(FILE *file, const Answer *answer) {
    uint32_t type = (uint32_t)answer->type;
    uint64_t size = product(answer->shape.dims, answer->shape.rank) * width(answer->type);
    fwrite(&type, sizeof type, 1, file);
    fwrite(&answer->shape.rank, sizeof(uint32_t), 1, file);
    fwrite(answer->shape.dims, sizeof(int64_t), answer->shape.rank, file);
    fwrite(&size, sizeof size, 1, file);
    fwrite(answer->data, 1, size, file);
}

/* Nothing that was written may be lost: a full disk fails here. */
static void finish(FILE *file, const char *path) {
    if (ferror(file) | fclose(file)) die(path, strerror(errno));
}
