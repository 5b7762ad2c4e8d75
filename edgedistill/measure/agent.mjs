// The phases, the keys and the golden check of agent.py, for machines that speak JavaScript.
//
// What differs between them is a host:
//     runtime(job)    brings onnxruntime, ready to open sessions
//     backends        {provider as ONNX Runtime calls it: as its JavaScript does}
//     begin()         MiB in use; from here on the high-water mark is ours       end()   the high-water mark in MiB; both null where none is known
//     worked(job)     the providers that took part
//     resident()      MiB in use now without the samples, which are not the model's; null where that is not known
//     state()         what can be read of the machine and of this process's CPU time; a reading that is not there is absent

const WARM_CHANGE = 0.02; // warm when two passes over the rows have medians this close
const [PROBES, PROBE_LOOPS, QUARTERS] = [32, 100_000, 4]; // 32 times some tenths of a millisecond; after each quarter the memory is read
const [WARM_MIN_MS, WARM_MAX_MS, WARM_MAX_PASSES] = [300, 20_000, 50];

/** Import, load, first answer, golden check, warm-up, steady samples, peak memory, apart. */
export async function measure(job, host) {
    const [ort, import_ms] = await clocked(() => host.runtime(job));
    const baseline_mib = host.begin();
    const [session, load_ms] = await clocked(() => ort.InferenceSession.create(job.model, options(job, host)));
    const feeds = job.feeds.map((one) => feed(ort, one, session.inputNames));
    const timed = job.timed?.length ? job.timed.map((one) => feed(ort, one, session.inputNames)) : feeds;
    const [, first_ms] = await clocked(() => session.run(timed[0]));
    const worst_difference = await worst(session, job, feeds);
    const warmups_ms = await warmUp(session, timed, job);
    const [probe_before_ms, before] = [probe(job), state(job, host)];
    const [samples_ms, resident_mib] = await steady(session, timed, job, host);
    const [after, probe_after_ms] = [state(job, host), probe(job)];
    const answers = job.answers ? { answers: await each(feeds, async (one) => kept(await firstOutput(session, one))) } : {};
    const peak = host.end();
    return {
        ...answers,
        status: worst_difference > Number(job.tolerance ?? Infinity) ? "wrong" : "ok",
        worst_difference,
        import_ms,
        load_ms,
        first_ms,
        warmups_ms,
        samples_ms,
        resident_mib,
        before,
        after,
        probe_before_ms,
        probe_after_ms,
        baseline_mib,
        peak_mib: peak === null ? null : peak - baseline_mib,
        onnxruntime: ort.env.versions.node ?? ort.env.versions.web,
        providers: host.worked(job),
    };
}

/** The smallest step of the clock in µs, over a hundred steps. */
export function timerUs() {
    let [last, least] = [performance.now(), Infinity];
    for (let steps = 0; steps < 100; ) {
        const now = performance.now();
        if (now > last) [least, last, steps] = [Math.min(least, now - last), now, steps + 1];
    }
    return Math.round(least * 1e6) / 1e3;
}

/** JSON with the numbers that it cannot hold spelt out, as Python reads them. */
export function written(result) {
    const spelt = (value) => typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value));
    return JSON.stringify(result, (_, value) => (Object.is(value, -0) ? "-0" : spelt(value) ? String(value) : value));
}

function options(job, host) {
    const provider = { ...job.options, name: host.backends[job.provider] };
    const apart = job.weights ? { externalData: job.weights } : {}; // a page has no folder where they could lie
    return { executionProviders: [provider], intraOpNumThreads: job.threads, interOpNumThreads: 1, logSeverityLevel: 3, ...apart };
}

/** One row at its natural length, batch 1, as the session's inputs. */
function feed(ort, one, names) {
    const known = Object.entries(one).filter(([name]) => names.includes(name));
    return Object.fromEntries(known.map(([name, { dtype, values }]) => [name, new ort.Tensor(dtype, typed(dtype, flat(values)), dims(values))]));
}

// ---- golden answers

/** Largest difference from the golden answers, 0 where the job has none; an answer that is no number is as wrong as can be. */
async function worst(session, job, feeds) {
    if (job.tensors) return worstTensor(session, job, feeds);
    if (!job.golden?.length) return 0;
    const differences = await each(feeds, async (one, row) => {
        const wanted = job.golden[row];
        return difference(cut(picked(plain(await firstOutput(session, one)), job.picks[row]), dims(wanted)[1]), wanted);
    });
    return Math.max(...differences);
}

/** Largest difference of any output from its golden values, as a share of the output's scale. */
async function worstTensor(session, job, feeds) {
    const differences = await each(feeds, async (one, row) => {
        const found = await session.run(one, job.outputs);
        return job.outputs.map((name, index) => difference(plain(found[name]), job.tensors[row][index]) / Number(job.scales[index]));
    });
    return Math.max(0, ...differences.flat());
}

/** Largest difference of an array from a nested list; infinite where shapes differ. */
function difference(found, wanted) {
    if (String(found.dims) !== String(dims(wanted))) return Infinity;
    const far = flat(wanted).map((value, index) => Math.abs(found.values[index] - Number(value)));
    return far.reduce((worst, one) => Math.max(worst, Number.isNaN(one) ? Infinity : one), 0);
}

/** The answers that count, out of a raw one [1, …]: as it is, at some tokens, or at some tokens of a side. */
function picked(raw, picks) {
    const axes = ["row", "at", "side"].filter((name) => name in picks).map((name) => flat(picks[name]));
    if (!axes.length) return raw;
    const rest = raw.dims.slice(axes.length);
    const size = rest.reduce((product, dim) => product * dim, 1);
    const starts = axes[0].map((_, index) => axes.reduce((at, axis, depth) => at * raw.dims[depth] + axis[index], 0) * size);
    return { dims: [...dims(picks.row), ...rest], values: starts.flatMap((start) => raw.values.slice(start, start + size)) };
}

/** The first columns of an array [n, c, …]. */
function cut({ dims: [rows, columns, ...rest], values }, wanted) {
    const size = rest.reduce((product, dim) => product * dim, 1);
    const kept = Math.min(columns, wanted);
    return { dims: [rows, kept, ...rest], values: values.filter((_, index) => Math.floor(index / size) % columns < kept) };
}

// ---- time

/** Run until two windows in a row are alike; their samples in ms. A window passes over every row, so lengths do not matter. */
async function warmUp(session, feeds, job) {
    const [samples, windows, started] = [[], [], performance.now()];
    const spent = () => performance.now() - started;
    const most = Math.min(WARM_MAX_MS, job.max_s * 1e3 || WARM_MAX_MS);
    while (isTimed(job) && samples.length < WARM_MAX_PASSES * feeds.length && spent() < most) {
        const window = await pass(session, feeds);
        samples.push(...window);
        windows.push([...window].sort((a, b) => a - b)[Math.floor(window.length / 2)]);
        const settled = windows.length >= 2 && Math.abs(windows.at(-1) / windows.at(-2) - 1) <= WARM_CHANGE;
        if (settled && spent() >= WARM_MIN_MS) break;
    }
    return samples;
}

/** Samples in ms, whole passes over the rows, until `way` is gone; and the resident MiB at the start and after each quarter.
 *  Where the job has a `max_s`, no pass but the first begins after so many seconds. */
async function steady(session, feeds, job, host) {
    const [samples, resident] = [[], []];
    if (!isTimed(job)) return [samples, resident];
    const read = () => resident.push(...[host.resident()].filter((mib) => mib !== null));
    read();
    const ends = performance.now() + (job.max_s * 1e3 || Infinity);
    for (let [spent, gone, quarters] = [0, 0, 0]; gone < 1 && (!samples.length || performance.now() < ends); ) {
        const window = await pass(session, feeds);
        samples.push(...window);
        spent += window.reduce((sum, one) => sum + one, 0);
        gone = way(job, samples.length, spent);
        for (; quarters < Math.floor(Math.min(gone, 1) * QUARTERS); quarters++) read();
    }
    return [samples, resident];
}

/** The share of the way: 1 at `min_runs` samples and `min_s` seconds inside them, whichever comes last. */
function way(job, runs, spentMs) {
    const asked = [[runs, job.min_runs], [spentMs / 1e3, job.min_s]];
    return Math.min(...asked.filter(([, wanted]) => wanted).map(([have, wanted]) => have / wanted));
}

function isTimed(job) {
    return Boolean(job.min_runs || job.min_s);
}

function state(job, host) {
    return isTimed(job) ? host.state() : {};
}

/** The time in ms of the same arithmetic, again and again: only the machine can change it. Nothing where nothing is timed. */
function probe(job) {
    return Array.from({ length: isTimed(job) ? PROBES : 0 }, () => {
        const started = performance.now();
        for (let [value, turn] = [1, 0]; turn < PROBE_LOOPS; turn++) value = (Math.imul(value, 1664525) + 1013904223) | 0;
        return performance.now() - started;
    });
}

function pass(session, feeds) {
    return each(feeds, async (one) => (await clocked(() => session.run(one)))[1]);
}

/** What `work` gives, and how long it took in ms. */
async function clocked(work) {
    const started = performance.now();
    const made = await work();
    return [made, performance.now() - started];
}

/** One after the other. */
async function each(rows, work) {
    const found = [];
    for (const [index, one] of rows.entries()) found.push(await work(one, index));
    return found;
}

// ---- arrays

const HALF_IS_HERE = Boolean(globalThis.Float16Array?.from); // else onnxruntime wants and gives bits
const ARRAYS = {
    float32: Float32Array,
    float64: Float64Array,
    int8: Int8Array,
    int16: Int16Array,
    int32: Int32Array,
    int64: BigInt64Array,
    uint8: Uint8Array,
    uint16: Uint16Array,
    uint32: Uint32Array,
    uint64: BigUint64Array,
    bool: Uint8Array,
};

function flat(values) {
    return [values].flat(Infinity);
}

function dims(values) {
    return Array.isArray(values) ? [values.length, ...(values.length ? dims(values[0]) : [])] : [];
}

function typed(dtype, values) {
    if (dtype === "float16") return HALF_IS_HERE ? Float16Array.from(values) : Uint16Array.from(values, (value) => halfBits(Number(value)));
    if (!(dtype in ARRAYS)) throw new Error(`an input of ${dtype}, which is none of ${Object.keys(ARRAYS)},float16`);
    return dtype.endsWith("int64") ? ARRAYS[dtype].from(values, whole) : ARRAYS[dtype].from(values, Number);
}

function whole(value) {
    if (Math.abs(value) > Number.MAX_SAFE_INTEGER) throw new Error(`an input has ${value}, beyond what JavaScript reads exactly from JSON`);
    return BigInt(value);
}

async function firstOutput(session, one) {
    return (await session.run(one))[session.outputNames[0]];
}

/** A tensor as an array of numbers. */
function plain({ type, dims, data }) {
    const numbers = type === "float16" && !HALF_IS_HERE ? Array.from(data, halfNumber) : Array.from(data, Number);
    return { dims, values: numbers };
}

/** A raw answer as JSON can hold it. */
function kept(answer) {
    const exact = typeof answer.data[0] === "bigint" ? Array.from(answer.data) : plain(answer).values;
    return { dtype: answer.type, dims: answer.dims, values: exact };
}

/** IEEE 754 binary16, ties to even. */
function halfBits(value) {
    const [sign, size] = [value < 0 || Object.is(value, -0) ? 0x8000 : 0, Math.abs(value)];
    if (Number.isNaN(value)) return 0x7e00;
    if (size >= 65520) return sign | 0x7c00; // rounds to infinity
    const exponent = Math.max(Math.floor(Math.log2(size)), -14);
    const steps = size / 2 ** (exponent - 10);
    const [below, over] = [Math.floor(steps), steps - Math.floor(steps)];
    const rounded = over > 0.5 || (over === 0.5 && below % 2) ? below + 1 : below;
    return sign | ((exponent + 14) * 1024 + rounded);
}

function halfNumber(bits) {
    const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}
