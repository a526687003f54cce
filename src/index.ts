export { OmkError, type ErrorCode } from "./errors.ts";
