// The mixture-of-experts trainer. Exit codes: 0 done, 2 bad input (flags, files, plans that do not fit), 3 stopped by a signal with the
// state saved, 1 anything else; the last line on stderr says what was wrong.
#include <cstdio>
#include <new>

#include "plait/io/error.hpp"
#include "session.hpp"

int main(int argc, char** argv) {
  int exit_code = 0;
  const auto fail = [](int code, const char* what) {
    std::fflush(stdout);
    std::fprintf(stderr, "moe_trainer: %s\n", what);
    return code;
  };
  try {
    const std::optional<trainer::options> options = trainer::parse(argc, argv, exit_code);
    if (!options) return exit_code;
    switch (options->run) {
      case trainer::command::train: return trainer::train(*options);
      case trainer::command::eval: return trainer::eval(*options);
      case trainer::command::generate: return trainer::generate(*options);
      case trainer::command::explain: return trainer::explain(*options);
      case trainer::command::checkpoint: return trainer::checkpoint(*options);
    }
  } catch (const trainer::usage_error& e) {
    return fail(2, e.what());
  } catch (const plait::io::input_error& e) {
    return fail(2, e.what());
  } catch (const plait::plan_misfit& e) {
    return fail(2, e.what());
  } catch (const std::bad_alloc&) {
    return fail(1, "out of memory; use more ranks, a smaller batch or --recompute layer");
  } catch (const std::exception& e) {
    return fail(1, e.what());
  }
  return 1;
}
