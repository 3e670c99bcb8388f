#pragma once
// Starts a program several times on this machine, a rank each, and waits for all: what `--processes N` is made of.
#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "plait/process/socket.hpp"

namespace plait::inline v0_1 {
namespace process {

inline volatile std::sig_atomic_t signal_to_pass_on = 0, all_started = 0;

/// Signals for the processes come here while they run. What a terminal sends reaches them by itself, if they are there.
inline void pass_signal_on(int number, siginfo_t* info, void*) {
  if (info->si_code <= 0 || all_started == 0) signal_to_pass_on = number;
}

}  // namespace process

/// Runs this program `count` times with the same arguments and PLAIT_RANK and the like set. Returns what the first process that failed
/// returned (1 if a signal ended it), or 0. When one fails the others get `patience` seconds to end by themselves, then they are killed.
/// They end with this process, too. `report` gets a line about each process that a signal ended.
template <class Report>
int start_processes(char** argv, int count, double patience, Report report) {
  using namespace process;
  std::string problem;
  const descriptor door = listen_at("127.0.0.1", 0, problem);
  if (!door) throw launch_error("cannot listen on this machine (" + problem + ")");
  const std::string port = std::to_string(port_of(door.get()));
  struct sigaction pass {}, before_term {}, before_int {}, before_hup {};
  pass.sa_sigaction = pass_signal_on;
  pass.sa_flags = SA_SIGINFO;
  signal_to_pass_on = 0;
  all_started = 0;
  ::sigaction(SIGTERM, &pass, &before_term);
  ::sigaction(SIGINT, &pass, &before_int);
  ::sigaction(SIGHUP, &pass, &before_hup);
  if (before_hup.sa_handler == SIG_IGN) ::sigaction(SIGHUP, &before_hup, nullptr);  // nohup
  std::fflush(nullptr);
  std::vector<pid_t> running(static_cast<std::size_t>(count), -1);
  const pid_t parent = ::getpid();
  sigset_t passed, mask;  // held back until a child has its own handlers again, so that none is lost in between
  ::sigemptyset(&passed);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&passed, number);
  ::pthread_sigmask(SIG_BLOCK, &passed, &mask);
  for (int r = 0; r < count; ++r) {
    const pid_t child = ::fork();
    if (child < 0) {
      problem = std::strerror(errno);
      ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
      for (const pid_t p : running)
        if (p > 0) ::kill(p, SIGKILL), ::waitpid(p, nullptr, 0);
      throw launch_error("cannot start process " + std::to_string(r) + " of " + std::to_string(count) + " (" + problem + ")");
    }
    if (child == 0) {
      ::sigaction(SIGTERM, &before_term, nullptr);
      ::sigaction(SIGINT, &before_int, nullptr);
      ::sigaction(SIGHUP, &before_hup, nullptr);
      ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::setenv("PLAIT_RANK", std::to_string(r).c_str(), 1);
      ::setenv("PLAIT_LOCAL_RANK", std::to_string(r).c_str(), 1);
      ::setenv("PLAIT_WORLD_SIZE", std::to_string(count).c_str(), 1);
      ::setenv("PLAIT_PORT", port.c_str(), 1);
      ::unsetenv("PLAIT_LISTENER");
      if (r == 0) {
        ::setenv("PLAIT_LISTENER", std::to_string(door.get()).c_str(), 1);
        ::fcntl(door.get(), F_SETFD, 0);
      }
      ::execv("/proc/self/exe", argv);
      ::_exit(127);
    }
    running[static_cast<std::size_t>(r)] = child;
  }
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);  // what came meanwhile comes now, and is passed on
  all_started = 1;
  int result = 0, left = count;
  bool counting = false;
  clock::time_point failed{};
  while (left > 0) {
    if (const int number = signal_to_pass_on; number != 0) {
      signal_to_pass_on = 0;
      for (const pid_t p : running)
        if (p > 0) ::kill(p, number);
    }
    bool any = false;
    for (std::size_t r = 0; r < running.size(); ++r) {
      int status = 0;
      if (running[r] < 0 || ::waitpid(running[r], &status, WNOHANG) != running[r]) continue;
      running[r] = -1;
      --left;
      any = true;
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
      if (WIFSIGNALED(status)) report("rank " + std::to_string(r) + " was ended by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")");
      if (result == 0) result = code;
      if (code != 0 && !counting) counting = true, failed = clock::now();
    }
    if (counting && std::chrono::duration<double>(clock::now() - failed).count() > patience) {
      for (const pid_t p : running)
        if (p > 0) ::kill(p, SIGKILL);
      counting = false;
    }
    if (!any) ::usleep(20000);
  }
  ::sigaction(SIGTERM, &before_term, nullptr);
  ::sigaction(SIGINT, &before_int, nullptr);
  ::sigaction(SIGHUP, &before_hup, nullptr);
  return result;
}

}  // namespace plait::inline v0_1
