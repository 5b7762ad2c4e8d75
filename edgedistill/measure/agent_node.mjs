// agent.py under Node.js:   node --expose-gc agent_node.mjs ONNXRUNTIME JOB.json RESULT.json
//
// ONNXRUNTIME is the folder of onnxruntime-node. A job that is null asks what this Node.js is.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { loadavg } from "node:os";

import { measure, timerUs, written } from "./agent.mjs";

const [folder, jobFile, resultFile] = process.argv.slice(2);

const MIB = 2 ** 20;

const host = {
    backends: { CPUExecutionProvider: "cpu" },
    runtime: () => createRequire(import.meta.url)(folder),
    begin() {
        const before = residentMib("VmRSS");
        resetPeak();
        return before;
    },
    end: () => residentMib("VmHWM"),
    worked: (job) => [job.provider],
    resident() {
        gc(); // what runs leave for the collector is no leak
        const { rss, heapTotal } = process.memoryUsage();
        return (rss - heapTotal) / MIB; // JavaScript's objects, the samples among them, are not the model's
    },
    state() {
        const { user, system } = process.cpuUsage();
        return { load_1min: loadavg()[0], cpu_s: (user + system) / 1e6, preempted: process.resourceUsage().involuntaryContextSwitches };
    },
};

/** A line of /proc/self/status in MiB. Elsewhere than on Linux the high-water mark stands for both. */
function residentMib(field) {
    if (process.platform !== "linux") return process.resourceUsage().maxRSS / 1024;
    return Number(readFileSync("/proc/self/status", "ascii").match(new RegExp(`^${field}:\\s*(\\d+)`, "m"))[1]) / 1024;
}

/** Let VmHWM start anew, where the kernel allows it; else the peak includes the import. */
function resetPeak() {
    try {
        writeFileSync("/proc/self/clear_refs", "5");
    } catch (error) {
        if (!error.code) throw error;
    }
}

try {
    const job = JSON.parse(readFileSync(jobFile, "utf8"));
    const result = job ? await measure(job, host) : { node: process.versions.node, timer_us: timerUs() };
    writeFileSync(resultFile, written(result));
} catch (error) {
    console.error(String(error.message ?? error).replaceAll("\n", " "));
    process.exitCode = 1;
}
