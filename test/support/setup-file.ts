import fc from "fast-check";

// One seed for the whole run, chosen and printed by setup-run.ts: giving it back repeats every generated case.
fc.configureGlobal({ seed: Number(process.env["OMK_TEST_SEED"]) });
