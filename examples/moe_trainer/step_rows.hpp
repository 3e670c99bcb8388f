#pragma once
// The file of --log: rows of JSON, one a step, of which every step has one however often the run was stopped and continued.
#include <cstdint>
#include <cstdio>
#include <string>

namespace trainer {

/// Opens the file to append to. Throws usage_error where it cannot be written or another process writes to it.
std::FILE* open_log(const std::string& path);

/// Takes the rows of steps after `step` out of the file, since the run does these steps again, and appends them to `path`.replaced; so,
/// too, a last line that a crash has left unfinished. A device or a pipe is left alone. Throws output_error; then nothing is lost.
void take_back_rows(std::FILE* log, const std::string& path, std::int64_t step);

}  // namespace trainer
