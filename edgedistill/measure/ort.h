/* ONNX Runtime through its C table, declared here by hand: no header of theirs is needed, the library is loaded by name. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REFUSED = 7 };
enum { API = 21, QUIET = 3, ARENA = 1, DEFAULT_MEMORY = 0, MAX_RANK = 16, MAX_NAMES = 64 };
enum { F32 = 1, U8 = 2, I8 = 3, U16 = 4, I16 = 5, I32 = 6, I64 = 7, BOOL = 9, F16 = 10, F64 = 11, U32 = 12, U64 = 13 };

/* The slots of ONNX Runtime's function table that are used here. The table is only ever appended to, so their numbers hold from API 21 on. */
typedef void Status, Env, Session, Options, Value, Memory, Allocator, Shape;
typedef struct {
    void *unused0[2];
    const char *(*GetErrorMessage)(const Status *);
    Status *(*CreateEnv)(int level, const char *name, Env **);
    void *unused4[3];
    Status *(*CreateSession)(const Env *, const char *path, const Options *, Session **);
    void *unused8;
    Status *(*Run)(Session *, const void *options, const char *const *in, const Value *const *, size_t, const char *const *out, size_t, Value **);
    Status *(*CreateSessionOptions)(Options **);
    void *unused11[13];
    Status *(*SetIntraOpNumThreads)(Options *, int);
    Status *(*SetInterOpNumThreads)(Options *, int);
    void *unused26[4];
    Status *(*SessionGetInputCount)(const Session *, size_t *);
    Status *(*SessionGetOutputCount)(const Session *, size_t *);
    void *unused32[4];
    Status *(*SessionGetInputName)(const Session *, size_t, Allocator *, char **);
    Status *(*SessionGetOutputName)(const Session *, size_t, Allocator *, char **);
    void *unused38[11];
    Status *(*CreateTensorWithDataAsOrtValue)(const Memory *, void *, size_t, const int64_t *dims, size_t rank, int type, Value **);
    void *unused50;
    Status *(*GetTensorMutableData)(Value *, void **);
    void *unused52[8];
    Status *(*GetTensorElementType)(const Shape *, int *);
    Status *(*GetDimensionsCount)(const Shape *, size_t *);
    Status *(*GetDimensions)(const Shape *, int64_t *, size_t);
    void *unused63[2];
    Status *(*GetTensorTypeAndShape)(const Value *, Shape **);
    void *unused66[3];
    Status *(*CreateCpuMemoryInfo)(int allocator, int kind, Memory **);
    void *unused70[8];
    Status *(*GetAllocatorWithDefaultOptions)(Allocator **);
    void *unused79[17];
    void (*ReleaseValue)(Value *);
    void *unused97[2];
    void (*ReleaseTensorTypeAndShapeInfo)(Shape *);
} Api;
#define SLOT(name, number) _Static_assert(offsetof(Api, name) == (number) * sizeof(void *), #name)
SLOT(GetErrorMessage, 2);
SLOT(CreateSession, 7);
SLOT(SetIntraOpNumThreads, 24);
SLOT(SessionGetInputCount, 30);
SLOT(SessionGetInputName, 36);
SLOT(CreateTensorWithDataAsOrtValue, 49);
SLOT(GetTensorMutableData, 51);
SLOT(GetTensorElementType, 60);
SLOT(GetTensorTypeAndShape, 65);
SLOT(CreateCpuMemoryInfo, 69);
SLOT(GetAllocatorWithDefaultOptions, 78);
SLOT(ReleaseValue, 96);
SLOT(ReleaseTensorTypeAndShapeInfo, 99);
typedef struct {
    const Api *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} Base;


typedef struct {
    uint32_t rank;
    int64_t dims[MAX_RANK];
} Dims;

static const Api *api;
static Memory *memory;
static Session *session;
static size_t input_count, output_count;
static char *inputs[MAX_NAMES], *outputs[MAX_NAMES];

static void die(const char *what, const char *why) {
    fprintf(stderr, "runner: %s: %s\n", what, why);
    exit(2);
}

/* The library cannot be used here: another exit code, because it is the device that lacks something, not the model. */
static void refuse(const char *what, const char *why) {
    fprintf(stderr, "runner: %s: %s\n", what, why);
    exit(REFUSED);
}

static void ok(Status *status, const char *what) {
    if (status) die(what, api->GetErrorMessage(status));
}

static void *room(size_t size) {
    void *found = NULL;
    if (posix_memalign(&found, 64, size ? size : 1)) die("memory", "none left");
    return found;
}

static const char *load_runtime(const char *library, Env **env) {
    setenv("ORT_DISABLE_TELEMETRY", "1", 1); /* official builds report home by default */
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) refuse("dlopen", dlerror());
    const Base *(*get_base)(void);
    *(void **)&get_base = dlsym(handle, "OrtGetApiBase");
    if (!get_base) refuse(library, "is not ONNX Runtime");
    if (!(api = get_base()->GetApi(API))) {
        char told[128];
        snprintf(told, sizeof told, "is ONNX Runtime %.32s, whose API version is too old: %d is needed, of 1.%d", get_base()->GetVersionString(), API, API);
        refuse(library, told);
    }
    ok(api->CreateEnv(QUIET, "edgedistill", env), "environment");
    return get_base()->GetVersionString();
}

static void open_session(const Env *env, const char *model, uint32_t threads) {
    Options *options;
    Allocator *allocator;
    ok(api->CreateSessionOptions(&options), "options");
    ok(api->SetIntraOpNumThreads(options, (int)threads), "threads");
    ok(api->SetInterOpNumThreads(options, 1), "threads");
    ok(api->CreateSession(env, model, options, &session), model);
    ok(api->GetAllocatorWithDefaultOptions(&allocator), "allocator");
    ok(api->CreateCpuMemoryInfo(ARENA, DEFAULT_MEMORY, &memory), "memory");
    ok(api->SessionGetInputCount(session, &input_count), "inputs");
    ok(api->SessionGetOutputCount(session, &output_count), "outputs");
    if (input_count > MAX_NAMES || output_count > MAX_NAMES) die(model, "has too many inputs or outputs");
    for (size_t i = 0; i < input_count; i++) ok(api->SessionGetInputName(session, i, allocator, &inputs[i]), "input");
    for (size_t i = 0; i < output_count; i++) ok(api->SessionGetOutputName(session, i, allocator, &outputs[i]), "output");
}
