#pragma once
// Which process of how many this one is: said by flags, by plait's own starter, or by the variables of torchrun, Open MPI, MPICH (and
// Intel MPI) or Slurm. Nothing is opened here.
#include <charconv>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "plait/process/socket.hpp"

namespace plait::inline v0_1 {

/// How the processes of a run find each other: rank 0's address, or a file that all of them see in which rank 0 writes it.
struct rendezvous {
  std::string file;
  std::string host;
  std::vector<int> ports;  // several: rank 0 takes the first that is free, the others try all
  int listener = -1;       // already listening there (inherited), for rank 0
  bool empty() const { return file.empty() && host.empty(); }
};

struct launch {
  int rank = 0, size = 1;
  int local_rank = -1;    // -1: counted by host when the processes meet
  std::string by;         // who said so
  std::string run;        // tells runs that share an address apart
  rendezvous meeting;
  bool several() const { return size > 1; }
};

/// What the command line may say; -1 and empty: nothing.
struct launch_flags {
  int rank = -1, size = -1, local_rank = -1;
  std::string rendezvous;
};

using variable_lookup = std::function<const char*(const char*)>;

namespace process {

inline std::optional<std::int64_t> number_in(const variable_lookup& look, const char* name) {
  const char* text = look(name);
  if (text == nullptr || *text == '\0') return std::nullopt;
  std::int64_t value = 0;
  const char* const end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  if (error != std::errc() || at != end || value < 0)
    throw launch_error(std::string(name) + "=" + text + " is not a whole number of at least 0; the launcher's environment is damaged");
  return value;
}

/// "file:PATH", "tcp:HOST:PORT".
inline rendezvous parse_rendezvous(const std::string& text) {
  rendezvous r;
  if (text.starts_with("file:") && text.size() > 5) {
    r.file = text.substr(5);
    return r;
  }
  const std::size_t colon = text.find_last_of(':');
  if (text.starts_with("tcp:") && colon > 4) {
    int port = 0;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + colon + 1, end, port);
    if (error == std::errc() && at == end && port > 0 && port < 65536) {
      r.host = text.substr(4, colon - 4);
      if (r.host.front() == '[' && r.host.back() == ']') r.host = r.host.substr(1, r.host.size() - 2);  // IPv6
      r.ports = {port};
      return r;
    }
  }
  throw launch_error("--rendezvous: '" + text + "' is neither tcp:HOST:PORT (rank 0's address) nor file:PATH (a path that all ranks see)");
}

/// The first host of Slurm's compact list: "node[01-04,07],other" gives node01.
inline std::string first_host(const std::string& list) {
  const std::size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || (comma != std::string::npos && comma < bracket)) return list.substr(0, comma);
  const std::size_t end = list.find_first_of("-,]", bracket);
  if (end == std::string::npos) return list;
  const std::size_t close = list.find(']', bracket), rest = list.find(',', close);
  return list.substr(0, bracket) + list.substr(bracket + 1, end - bracket - 1) + list.substr(close + 1, rest == std::string::npos ? rest : rest - close - 1);
}

inline std::string temporary_folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

/// A file that the processes of one machine find without being told: they have the starter `key` in common.
inline rendezvous local_meeting(const std::string& key) {
  rendezvous r;
  r.file = temporary_folder() + "/plait-" + std::to_string(::getuid()) + "-" + key;
  return r;
}

inline launch checked(launch l, const char* rank_name, const char* size_name) {
  if (l.size < 1) throw launch_error(std::string(size_name) + "=" + std::to_string(l.size) + ": there is at least one process");
  if (l.rank >= l.size)
    throw launch_error(std::string(rank_name) + "=" + std::to_string(l.rank) + " is not below " + size_name + "=" + std::to_string(l.size));
  return l;
}

/// Rank and size under two names; nothing if the first is not set. One without the other is an error.
inline std::optional<launch> pair_of(const variable_lookup& look, const char* by, const char* rank_name, const char* size_name, const char* local_name) {
  const auto rank = number_in(look, rank_name), size = number_in(look, size_name);
  if (!rank && !size) return std::nullopt;
  if (!rank || !size)
    throw launch_error(std::string(rank ? rank_name : size_name) + " is set but " + (rank ? size_name : rank_name) + " is not; set both, or unset this one");
  launch l;
  l.by = by;
  l.rank = static_cast<int>(*rank);
  l.size = static_cast<int>(*size);
  if (const auto local = number_in(look, local_name)) l.local_rank = static_cast<int>(*local);
  return checked(l, rank_name, size_name);
}

inline std::string text_or(const variable_lookup& look, const char* name, const char* otherwise) {
  const char* text = look(name);
  return text != nullptr && *text != '\0' ? text : otherwise;
}

/// MASTER_ADDR and MASTER_PORT, if both are set; torchrun's own store listens at that port, so the ones after it are taken then.
inline rendezvous master(const variable_lookup& look) {
  const std::string host = text_or(look, "MASTER_ADDR", "");
  const auto port = number_in(look, "MASTER_PORT");
  rendezvous r;
  if (host.empty() || !port) return r;
  r.host = host;
  const bool taken = text_or(look, "TORCHELASTIC_USE_AGENT_STORE", "") == "True";
  for (int i = taken ? 1 : 0; i <= (taken ? 8 : 0); ++i) r.ports.push_back(static_cast<int>((*port + i) % 65536));
  return r;
}

}  // namespace process

/// The innermost launcher wins: flags, plait's own --processes, torchrun (or anything that sets RANK and WORLD_SIZE), Open MPI, MPICH, Slurm.
inline launch detect_launch(const launch_flags& flags, const variable_lookup& look) {
  using namespace process;
  launch l;
  if (flags.rank >= 0 || flags.size >= 0) {
    if (flags.rank < 0 || flags.size < 0) throw launch_error("--rank and --world-size belong together; give both");
    l.by = "flags";
    l.rank = flags.rank;
    l.size = flags.size;
    l = checked(l, "--rank", "--world-size");
    if (l.several() && flags.rendezvous.empty()) l.meeting = master(look);
    if (l.several() && flags.rendezvous.empty() && l.meeting.empty())
      throw launch_error("--rank and --world-size need --rendezvous tcp:HOST:PORT (rank 0's address) or file:PATH (a path that all ranks see)");
  } else if (const auto own = pair_of(look, "--processes", "PLAIT_RANK", "PLAIT_WORLD_SIZE", "PLAIT_LOCAL_RANK")) {
    l = *own;
    l.meeting.host = "127.0.0.1";
    l.meeting.ports = {static_cast<int>(number_in(look, "PLAIT_PORT").value_or(0))};
    l.meeting.listener = static_cast<int>(number_in(look, "PLAIT_LISTENER").value_or(-1));
  } else {
    std::optional<launch> mpi = pair_of(look, "Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK");
    std::string key = "ompi-" + text_or(look, "PMIX_NAMESPACE", std::to_string(::getppid()).c_str());
    if (!mpi) {
      mpi = pair_of(look, "MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID");
      key = "pmi-" + std::to_string(::getppid());
    }
    const auto direct = pair_of(look, look("TORCHELASTIC_RUN_ID") != nullptr ? "torchrun" : "RANK and WORLD_SIZE", "RANK", "WORLD_SIZE", "LOCAL_RANK");
    if (direct) {
      l = *direct;
      if (mpi && look("TORCHELASTIC_RUN_ID") == nullptr && (mpi->rank != l.rank || mpi->size != l.size))
        throw launch_error("RANK=" + std::to_string(l.rank) + " of WORLD_SIZE=" + std::to_string(l.size) + ", but " + mpi->by + " says rank " +
                           std::to_string(mpi->rank) + " of " + std::to_string(mpi->size) + "; unset the wrong ones");
      l.meeting = master(look);
      if (l.several() && flags.rendezvous.empty() && l.meeting.empty())
        throw launch_error(std::string("RANK and WORLD_SIZE are set but ") + (text_or(look, "MASTER_ADDR", "").empty() ? "MASTER_ADDR" : "MASTER_PORT") +
                           " is not; set it to rank 0's, or give --rendezvous");
    } else if (mpi) {
      l = *mpi;
      l.meeting = master(look);
      const auto local_size = number_in(look, l.by == "Open MPI" ? "OMPI_COMM_WORLD_LOCAL_SIZE" : "MPI_LOCALNRANKS");
      if (l.meeting.empty() && local_size.value_or(l.size) == l.size) l.meeting = local_meeting(key);
      if (l.several() && flags.rendezvous.empty() && l.meeting.empty())
        throw launch_error(l.by + " started ranks on several machines: set MASTER_ADDR and MASTER_PORT to rank 0's, or give --rendezvous tcp:HOST:PORT");
    } else if (const auto step = number_in(look, "SLURM_STEP_ID"); step && *step < 0xfffffff0ll && look("SLURM_PROCID") != nullptr) {
      l = *pair_of(look, "Slurm", "SLURM_PROCID", look("SLURM_STEP_NUM_TASKS") != nullptr ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS", "SLURM_LOCALID");
      const auto job = number_in(look, "SLURM_JOB_ID");
      l.meeting = master(look);
      const std::string nodes = text_or(look, "SLURM_STEP_NODELIST", text_or(look, "SLURM_NODELIST", text_or(look, "SLURM_JOB_NODELIST", "").c_str()).c_str());
      if (l.meeting.empty() && job && !nodes.empty()) {
        l.meeting.host = first_host(nodes);
        l.meeting.ports = {static_cast<int>(20000 + (*job * 64 + *step) % 20000)};
      }
      if (l.several() && flags.rendezvous.empty() && l.meeting.empty())
        throw launch_error("Slurm says neither SLURM_JOB_ID nor SLURM_NODELIST: set MASTER_ADDR and MASTER_PORT to rank 0's, or give --rendezvous");
      l.run = "slurm " + std::to_string(job.value_or(0)) + "." + std::to_string(*step);
    }
    if (const char* id = look("TORCHELASTIC_RUN_ID"); direct && id != nullptr) l.run = std::string("torchrun ") + id + " " + text_or(look, "TORCHELASTIC_RESTART_COUNT", "0");
  }
  if (flags.local_rank >= 0) l.local_rank = flags.local_rank;
  if (!flags.rendezvous.empty()) {
    const int listener = l.meeting.listener;
    l.meeting = parse_rendezvous(flags.rendezvous);
    if (l.by == "--processes") l.meeting.listener = listener;
    if (!l.several() && l.by.empty()) throw launch_error("--rendezvous: there is one process; give --rank and --world-size, or start it with a launcher");
  }
  return l;
}

inline launch detect_launch(const launch_flags& flags = {}) {
  return detect_launch(flags, [](const char* name) -> const char* { return std::getenv(name); });
}

}  // namespace plait::inline v0_1
