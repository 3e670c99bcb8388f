#include "step_rows.hpp"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string_view>

#include "options.hpp"
#include "plait/io/error.hpp"

namespace trainer {
namespace {

bool is_regular(std::FILE* file) {
  struct stat status {};
  return ::fstat(::fileno(file), &status) == 0 && S_ISREG(status.st_mode);
}

/// The step of a row as train writes it; 0: another line.
std::int64_t step_of(std::string_view line) {
  constexpr std::string_view begin = "{\"step\":";
  std::int64_t step = 0;
  if (line.starts_with(begin)) std::from_chars(line.data() + begin.size(), line.data() + line.size(), step);
  return step;
}

/// Appends what `from` holds from byte `at` on; durable when it returns.
void append_rest(std::ifstream& from, std::streamoff at, const std::string& to) {
  from.clear();
  from.seekg(at);
  std::FILE* const out = std::fopen(to.c_str(), "ae");
  if (out == nullptr) throw plait::io::output_error(to, "keeping rows of --log", std::strerror(errno));
  char last = '\n', block[1 << 16];
  do {
    from.read(block, sizeof block);
    const auto got = static_cast<std::size_t>(from.gcount());
    if (got > 0) last = block[got - 1];
    std::fwrite(block, 1, got, out);
  } while (from);
  if (last != '\n') std::fputc('\n', out);
  const bool failed = std::fflush(out) != 0 || std::ferror(out) != 0 || ::fsync(::fileno(out)) != 0 || from.bad();
  const std::string why = std::strerror(errno);
  std::fclose(out);
  if (failed) throw plait::io::output_error(to, "keeping rows of --log", why);
}

}  // namespace

std::FILE* open_log(const std::string& path) {
  std::FILE* const log = std::fopen(path.c_str(), "ae");
  if (log == nullptr) throw usage_error("--log " + path + ": cannot be written (" + std::strerror(errno) + ")");
  if (is_regular(log) && ::flock(::fileno(log), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    std::fclose(log);
    throw usage_error("--log " + path + ": another process writes to it; end it or name another file");
  }
  char first = '{';
  std::ifstream(path, std::ios::binary).get(first);
  if (is_regular(log) && first != '{') {
    std::fclose(log);
    throw usage_error("--log " + path + ": is there and is no log, whose first line would be a JSON object; name another file");
  }
  return log;
}

void take_back_rows(std::FILE* log, const std::string& path, std::int64_t step) {
  if (!is_regular(log)) return;
  std::ifstream from(path, std::ios::binary);
  std::streamoff at = 0, keep = -1;
  std::int64_t rows = 0;
  bool whole = true;
  for (std::string line; std::getline(from, line);) {
    whole = !from.eof();
    const std::int64_t of = step_of(line);
    rows += of > step;
    if (keep < 0 && (of > step || (!whole && !line.ends_with('}')))) keep = at;
    at += static_cast<std::streamoff>(line.size()) + 1;
  }
  if (keep < 0) {
    if (!whole) std::fputc('\n', log);
    return;
  }
  append_rest(from, keep, path + ".replaced");
  if (::ftruncate(::fileno(log), keep) != 0) throw plait::io::output_error(path, "taking back rows", std::strerror(errno));
  if (rows > 0)
    std::fprintf(stderr, "moe_trainer: note: --log %s: %lld rows of steps after %lld were moved to %s.replaced\n", path.c_str(),
                 static_cast<long long>(rows), static_cast<long long>(step), path.c_str());
}

}  // namespace trainer
