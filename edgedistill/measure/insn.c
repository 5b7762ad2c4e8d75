/* A plugin of qemu-user: how many AArch64 or x86-64 instructions of each class run between the runner's marks.
 *
 *     qemu-aarch64 -plugin insn.so,out=COUNTS ... runner ...
 *
 * COUNTS gets a line for each marked run: its number, then the instructions of each class in the order of the enumeration.
 * The functions below are version 1 of qemu's plugin interface, declared by hand: Debian ships no header. Counters are added to without a
 * lock, so the program must have one thread.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*)(uint64_t id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter, uint64_t step);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
typedef void on_syscall(uint64_t id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, on_syscall *);
#define SHOWN __attribute__((visibility("default")))
SHOWN int qemu_plugin_version = 1;

enum { ADD = 0, MARK = 0x7ED1 };
enum { INT_DOT, INT_MATRIX, INT_MULTIPLY, FLOAT_MULTIPLY_ADD, OTHER, CLASSES };
static const struct {
    uint32_t mask, bits;
    int class;
} arm[] = {
    {0x9F20FC00, 0x0E009400, INT_DOT},            /* sdot, udot */
    {0x9F00F400, 0x0F00E000, INT_DOT},            /* sdot, udot by element */
    {0xBFE0FC00, 0x0E809C00, INT_DOT},            /* usdot */
    {0xBF40F400, 0x0F00F000, INT_DOT},            /* usdot, sudot by element */
    {0xDFE0FC00, 0x4E80A400, INT_MATRIX},         /* smmla, ummla */
    {0xFFE0FC00, 0x4E80AC00, INT_MATRIX},         /* usmmla */
    {0x9F20FC00, 0x0E20C000, INT_MULTIPLY},       /* smull, umull, and their halves */
    {0x9F20FC00, 0x0E208000, INT_MULTIPLY},       /* smlal, umlal */
    {0x9F00F400, 0x0F00A000, INT_MULTIPLY},       /* smull, umull by element */
    {0x9F00F400, 0x0F002000, INT_MULTIPLY},       /* smlal, umlal by element */
    {0xBF20FC00, 0x0E20CC00, FLOAT_MULTIPLY_ADD}, /* fmla, fmls */
    {0xBF80B400, 0x0F801000, FLOAT_MULTIPLY_ADD}, /* fmla, fmls by element */
    {0xBF60FC00, 0x0E400C00, FLOAT_MULTIPLY_ADD}, /* fmla, fmls of half floats */
    {0xBFC0B400, 0x0F001000, FLOAT_MULTIPLY_ADD}, /* fmla, fmls of half floats by element */
};

static uint64_t counters[CLASSES], before[CLASSES];
static long run;
static FILE *out;
static int is_arm;

static int class_of_arm(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    for (size_t i = 0; i < sizeof arm / sizeof *arm; i++)
        if ((word & arm[i].mask) == arm[i].bits) return arm[i].class;
    return OTHER;
}

/* An instruction with a VEX prefix of 2 or 3 bytes on 256-bit registers; older forms and halves are none of the kernels' inner loops. */
static int class_of_x86(const uint8_t *bytes, size_t size) {
    if (size < 5 && !(size == 4 && bytes[0] == 0xC5)) return OTHER;
    if (bytes[0] != 0xC4 && bytes[0] != 0xC5) return OTHER;
    int map = bytes[0] == 0xC5 ? 1 : bytes[1] & 31;
    const uint8_t *last = bytes + (bytes[0] == 0xC5 ? 1 : 2);
    if ((*last & 7) != 5) return OTHER; /* 256 bits, prefix 66 */
    int code = last[1];
    if (map == 2 && code >= 0x50 && code <= 0x53) return INT_DOT;                                         /* vpdpbusd, vpdpwssd */
    if ((map == 2 && code == 0x04) || (map == 1 && code == 0xF5)) return INT_MULTIPLY;                    /* vpmaddubsw, vpmaddwd */
    if (map == 2 && code >= 0x96 && code <= 0xBF && (code & 15) >= 6) return FLOAT_MULTIPLY_ADD;          /* vfmadd, vfmsub, vfnmadd */
    return OTHER;
}

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
    uint64_t found[CLASSES] = {0};
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        const struct qemu_plugin_insn *one = qemu_plugin_tb_get_insn(block, i);
        const uint8_t *bytes = qemu_plugin_insn_data(one);
        found[is_arm ? class_of_arm(bytes) : class_of_x86(bytes, qemu_plugin_insn_size(one))]++;
    }
    for (int i = 0; i < CLASSES; i++)
        if (found[i]) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, &counters[i], found[i]);
}

static void called(uint64_t id, unsigned cpu, int64_t number, uint64_t mark, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,
                   uint64_t h) {
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != MARK) return;
    if ((int64_t)mark >= 0) {
        run = (long)mark;
        memcpy(before, counters, sizeof counters);
        return;
    }
    fprintf(out, "%ld", run);
    for (int i = 0; i < CLASSES; i++) fprintf(out, " %llu", (unsigned long long)(counters[i] - before[i]));
    fputs("\n", out);
    fflush(out);
}

SHOWN int qemu_plugin_install(uint64_t id, const void *info, int count, char **words) {
    is_arm = !strcmp(*(const char *const *)info, "aarch64"); /* the target's name is the first field */
    for (int i = 0; i < count; i++)
        if (!strncmp(words[i], "out=", 4)) out = fopen(words[i] + 4, "w");
    if (!out) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
