#pragma once
// Ranks of several processes: starting them, joining the others, agreeing on the run, failing together.
#include <atomic>
#include <exception>

#include "session.hpp"

namespace trainer {

/// Runs this program --processes times and returns what they end with.
int start(char** argv, const options& o);

/// Meets the other processes, if a launcher started several. False: this process has nothing to do.
bool join(options& o);

/// Refuses processes that were started with other flags, files or programs. Every process must call it.
void require_agreement(const session& s);
void require_same(const options& o, const std::string& what, const std::string& value);

/// Set once the run has failed and what is left to do is to write: this process may take --deadline for that instead of some seconds.
inline std::atomic<bool> writing_after_failure{false};

/// What the program ends with on that exception.
int exit_code_of(std::exception_ptr why);

/// Says on stderr what was wrong, tells the other processes, and returns the exit code.
int report_failure(const options& o, std::exception_ptr why);

/// The ranks of this process, over whatever reaches the others.
void run_ranks(const session& s, const std::function<void(plait::context&)>& body);

/// "4 ranks as threads", for people.
std::string ranks_text(const options& o);

}  // namespace trainer
