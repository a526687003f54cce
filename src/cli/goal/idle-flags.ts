/** Flags that are no mistake and yet do nothing beside the others: whoever gives them is told. */

/** A sentence for each flag that has no effect. */
export function idleFlags(flags: Readonly<Record<string, unknown>>): string[] {
  const told: string[] = [];
  if (flags["autoAccept"] === true && flags["untilReady"] !== true)
    told.push("--auto-accept counts once the goal is driven: omk goal resume --until-ready");
  if (flags["llmPlanner"] === false && flags["plannerTokenBudget"] !== undefined)
    told.push("--planner-token-budget has no effect beside --no-llm-planner, which asks nobody");
  const isLocal = (flags["policy"] ?? "local") === "local";
  const { mergePolicy = "disabled" } = flags;
  if (isLocal && typeof mergePolicy === "string" && mergePolicy !== "disabled")
    told.push(`--merge-policy ${mergePolicy} has no effect under --policy local: nothing is merged`);
  const isSliced = flags["sliceExecution"] === true || Number(flags["maxAgents"] ?? 1) > 1 || !isLocal;
  if (flags["apply"] === true && !isSliced)
    told.push("--apply has no effect without --slice-execution: one agent works in your files anyway");
  if (flags["approvalPolicy"] === "yolo")
    for (const [key, flag] of [
      ["approvalTimeout", "--approval-timeout"],
      ["approvalOnTimeout", "--approval-on-timeout"],
    ] as const)
      if (flags[key] !== undefined)
        told.push(`${flag} has no effect beside --approval-policy yolo, which asks nobody`);
  return told;
}
