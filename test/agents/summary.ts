/** The last lines of the suite: one per agent and way to start it, and a reason for every test that was left out. */
import type { Reporter, TestCase, TestModule } from "vitest/node";

/** Counts by the outermost `describe`, which names the agent. */
export class AgentSummary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines: string[] = [];
    for (const module of modules) {
      for (const suite of module.children.suites())
        lines.push(...summed(suite.name, suite.children.allTests()));
      if (module.errors().length > 0) lines.push(`real agents: ${module.relativeModuleId} could not be run`);
    }
    process.stdout.write(`\n${lines.join("\n")}\n`);
  }
}

function summed(name: string, tests: Iterable<TestCase>): string[] {
  const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
  const reasons = new Map<string, number>();
  for (const test of tests) {
    const result = test.result();
    count[result.state]++;
    if (result.state !== "skipped") continue;
    const reason = result.note ?? "not asked for";
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return [
    `real agents: ${name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} left out`,
    ...[...reasons].map(([reason, times]) => `  left out ${times}: ${reason}`),
  ];
}
