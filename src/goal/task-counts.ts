/** How many tasks of a graph are in which state. Pure, and light enough for commands that only look. */

/** Counts of tasks by state. */
export function countTasks(tasks: readonly { status?: string }[]) {
  const count = (status: string) => tasks.filter((task) => task.status === status).length;
  return {
    total_tasks: tasks.length,
    pending_tasks: count("pending"),
    blocked_tasks: count("blocked"),
    done_tasks: count("done"),
  };
}
