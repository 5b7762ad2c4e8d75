// agent.py in a page. The job and the files of onnxruntime-web are where the page came from, the result goes back there.
//
// A job that is null asks what this browser is.

import { measure, timerUs, written } from "./agent.mjs";

const MIB = 2 ** 20;
let heap; // onnxruntime's memory. It only grows, so its size is its high-water mark
let dispatches = 0; // of WebGPU

globalThis.WebAssembly.Memory = new Proxy(WebAssembly.Memory, {
    construct(Memory, words) {
        heap = new Memory(...words);
        return heap;
    },
});

const wasm = {
    backends: { CPUExecutionProvider: "wasm" },
    runtime: (job) => ready("ort.wasm.min.mjs", job),
    begin: () => heap.buffer.byteLength / MIB,
    end: () => heap.buffer.byteLength / MIB,
    worked: () => ["CPUExecutionProvider"],
    resident: () => heap.buffer.byteLength / MIB,
    state: () => ({}), // a page is told nothing of its machine
};

const webgpu = {
    backends: { WebGpuExecutionProvider: "webgpu" },
    async runtime(job) {
        const { dispatchWorkgroups } = GPUComputePassEncoder.prototype;
        GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...size) {
            dispatches += 1;
            return dispatchWorkgroups.apply(this, size);
        };
        return ready("ort.webgpu.min.mjs", job);
    },
    begin: () => null, // the GPU's memory is not told
    end: () => null,
    resident: () => null,
    state: () => ({}),
    worked: () => [...(dispatches ? ["WebGpuExecutionProvider"] : []), "CPUExecutionProvider"],
};

const hosts = { CPUExecutionProvider: wasm, WebGpuExecutionProvider: webgpu };

/** onnxruntime-web with its WebAssembly compiled and its threads started: it does so on the first session, even of a file that is none. */
async function ready(file, job) {
    if (job.threads > 1 && !crossOriginIsolated) throw new Error("this browser does not isolate the page: threads have no shared memory");
    const ort = await import(`./ort/${file}`);
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = job.threads;
    ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
    await ort.InferenceSession.create(new Uint8Array(1), { executionProviders: ["wasm"] }).then(
        () => Promise.reject(new Error("onnxruntime-web opened a file that is no model")),
        (error) => heap || Promise.reject(error), // no heap: it is onnxruntime itself that does not start
    );
    return ort;
}

async function facts() {
    const { fullVersionList = [] } = (await navigator.userAgentData?.getHighEntropyValues(["fullVersionList"])) ?? {};
    const adapter = await navigator.gpu?.requestAdapter();
    const info = adapter?.info;
    return {
        browser: fullVersionList.map(({ brand, version }) => `${brand} ${version}`).find((one) => !one.startsWith("Not")) ?? navigator.userAgent,
        user_agent: navigator.userAgent,
        cores: navigator.hardwareConcurrency,
        cross_origin_isolated: crossOriginIsolated,
        timer_us: timerUs(),
        gpu: info ? [info.vendor, info.architecture, info.description].filter(Boolean).join(" ") : null,
        gpu_is_software: info ? Boolean(info.isFallbackAdapter) || /swiftshader|llvmpipe/i.test(info.architecture + info.description) : null,
    };
}

const job = await (await fetch("job")).json();
await tell(written(job ? await measure(job, hosts[job.provider]) : await facts()));
