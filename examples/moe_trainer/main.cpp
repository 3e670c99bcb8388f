// The mixture-of-experts trainer. Exit codes: 0 done, 2 bad input (flags, files, plans that do not fit), 3 stopped by a signal with the
// state saved, 1 anything else; the last line on stderr says what was wrong. Processes of one run end alike.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "processes.hpp"

namespace {

int run(char** argv, trainer::options& options) {
  if (options.processes > 0) return trainer::start(argv, options);
  if (!trainer::join(options)) return 0;
  switch (options.run) {
    case trainer::command::train: return trainer::train(options);
    case trainer::command::eval: return trainer::eval(options);
    case trainer::command::generate: return trainer::generate(options);
    case trainer::command::explain: return trainer::explain(options);
    case trainer::command::checkpoint: return trainer::checkpoint(options);
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file above the limit (ulimit -f) is then an error of its write, which says so and is dealt with
  int exit_code = 0;
  std::optional<trainer::options> options = trainer::parse(argc, argv, exit_code);
  if (!options) return exit_code;
  try {
    exit_code = run(argv, *options);
  } catch (...) {
    return trainer::report_failure(*options, std::current_exception());
  }
  errno = 0;
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && exit_code == 0) {  // a full disk must not look like an empty answer
    const std::string why = errno != 0 ? std::string(" (") + std::strerror(errno) + ")" : "";
    std::fprintf(stderr, "moe_trainer: stdout: could not be written to the end%s\n", why.c_str());
    return 1;
  }
  return exit_code;
}
