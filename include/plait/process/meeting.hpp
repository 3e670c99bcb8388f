#pragma once
// How the processes of a run come together: everyone calls rank 0, which answers when all are there. What comes out are sockets.
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "plait/process/launch.hpp"
#include "plait/version.hpp"

namespace plait::inline v0_1 {

struct meeting_result {
  std::vector<process::descriptor> sockets;  // by rank; rank 0's to everyone, in a full mesh everyone's to everyone
  int local_rank = 0, local_size = 1;        // among the processes of this machine
};

namespace process {

inline constexpr const char* greeting = "plait processes 1";  // the number changes with what follows

inline std::string version_text() {
  return std::to_string(PLAIT_VERSION_MAJOR) + "." + std::to_string(PLAIT_VERSION_MINOR) + "." + std::to_string(PLAIT_VERSION_PATCH);
}

/// Tells machines apart, also those that share a name.
inline std::string machine_id() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(boot, id);
  return std::string(name) + "/" + id;
}
inline std::string host_of(const std::string& machine) { return machine.substr(0, machine.find('/')); }

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}
inline int number_of(const std::string& text) {
  int value = -1;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && at == text.data() + text.size() ? value : -1;
}
inline std::string random_text() {
  std::random_device source;
  return std::to_string((static_cast<std::uint64_t>(source()) << 32) | source());
}
inline bool hung_up(int fd) {
  char byte = 0;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/// Everything that goes wrong says which rank it happened on.
class meeting {
 public:
  meeting(const launch& l, bool mesh, double seconds) : l_(l), mesh_(mesh), limit_(seconds), machine_(machine_id()) {
    result_.sockets.resize(static_cast<std::size_t>(l.size));
  }
  meeting_result run() {
    if (l_.rank == 0) receive_everyone();
    else call_rank_0();
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const { throw launch_error("rank " + std::to_string(l_.rank) + ": " + why); }
  std::string where() const {
    if (!l_.meeting.file.empty()) return "file:" + l_.meeting.file;
    return address{l_.meeting.host, l_.meeting.ports.front()}.text();
  }

  const char* carrier() const { return mesh_ ? "through host memory" : "between GPUs"; }

  // rank 0 ------------------------------------------------------------------------------------------------------------------
  descriptor open_door(std::string& secret) {
    if (l_.meeting.listener >= 0) return descriptor(l_.meeting.listener);
    std::string problem;
    if (!l_.meeting.file.empty()) {
      descriptor door = listen_at("", 0, problem);
      if (!door) refuse("cannot listen (" + problem + ")");
      secret = random_text();
      const std::string temporary = l_.meeting.file + "." + std::to_string(::getpid());
      std::ofstream out(temporary, std::ios::trunc);
      out << greeting << "\n" << machine_ << "\n" << port_of(door.get()) << "\n" << secret << "\n";
      out.close();
      if (!out || std::rename(temporary.c_str(), l_.meeting.file.c_str()) != 0) {
        const std::string why = std::strerror(errno);
        ::unlink(temporary.c_str());
        refuse("the rendezvous file " + l_.meeting.file + " cannot be written (" + why + ")");
      }
      return door;
    }
    bool busy = false;
    for (const int port : l_.meeting.ports) {
      descriptor door = listen_at(l_.meeting.host, port, problem);
      if (!door && problem == std::strerror(EADDRNOTAVAIL)) door = listen_at("", port, problem);  // an address that is translated on its way here
      if (door) return door;
      busy = busy || problem == std::strerror(EADDRINUSE);
    }
    refuse("cannot listen at " + where() + " (" + problem + ")" +
           (busy ? "; another program, perhaps an earlier run, has that port: choose another one" : "; it must be an address of rank 0's machine"));
  }

  void receive_everyone() {
    std::string secret;
    const descriptor door = open_door(secret);
    struct remove_file {
      std::string path;
      ~remove_file() {
        if (!path.empty()) ::unlink(path.c_str());
      }
    } const cleaner{l_.meeting.file};
    std::vector<std::vector<std::string>> said(static_cast<std::size_t>(l_.size));
    const auto fail = [&](const std::string& why) {
      for (const descriptor& s : result_.sockets)
        if (s) send_text(s.get(), "no\n" + why, time_limit(1));
      refuse(why);
    };
    for (int there = 1; there < l_.size;) {
      if (limit_.passed()) {
        std::string missing;
        for (int r = 1; r < l_.size; ++r)
          if (said[static_cast<std::size_t>(r)].empty()) missing += (missing.empty() ? "" : ", ") + std::to_string(r);
        fail("waited " + seconds_text(limit_.seconds()) + " at " + where() + " for " + std::to_string(l_.size - there) + " of " + std::to_string(l_.size) +
             " processes: rank " + missing + " did not come; start all of them, or give a longer --deadline");
      }
      for (int r = 1; r < l_.size; ++r)
        if (const descriptor& s = result_.sockets[static_cast<std::size_t>(r)]; s && hung_up(s.get()))
          fail("rank " + std::to_string(r) + " ended before the run began; its own message says why");
      descriptor s = accept_one(door.get(), limit_.milliseconds(200));
      if (!s) continue;
      std::string text;
      if (!receive_text(s.get(), text, time_limit(5))) continue;
      std::vector<std::string> hello = lines_of(text);
      hello.resize(std::max<std::size_t>(hello.size(), 9));
      if (hello[0] != greeting) {
        if (hello[0].starts_with("plait processes ")) fail("another process speaks '" + hello[0] + "', this one '" + greeting + "': install the same version everywhere");
        continue;  // not one of us
      }
      const int rank = number_of(hello[2]);
      const std::string who = "rank " + hello[2] + " (on " + host_of(hello[6]) + ")";
      if (hello[4] != l_.run || hello[5] != secret) {
        send_text(s.get(), "other", time_limit(1));
        continue;
      }
      const auto refuse_it = [&](const std::string& why) {
        send_text(s.get(), "no\n" + why, time_limit(1));
        fail(why);
      };
      if (hello[1] != version_text()) refuse_it("versions differ: rank 0 runs plait " + version_text() + ", " + who + " runs " + hello[1] + "; install the same one everywhere");
      if (number_of(hello[3]) != l_.size)
        refuse_it("world sizes differ: rank 0 was told " + std::to_string(l_.size) + " processes, " + who + " was told " + hello[3] + "; start all with the same number");
      if (hello[8] != carrier())
        refuse_it("rank 0 communicates " + std::string(carrier()) + ", " + who + " " + hello[8] + "; give all processes the same --backend");
      if (rank == 0 || (rank > 0 && rank < l_.size && !said[static_cast<std::size_t>(rank)].empty()))
        refuse_it("two processes claim rank " + hello[2] + ", one of them on " + host_of(hello[6]) + "; give every process a rank of its own");
      if (rank < 0 || rank >= l_.size) refuse_it("a process on " + host_of(hello[6]) + " claims rank " + hello[2] + " of " + std::to_string(l_.size));
      if (!send_text(s.get(), "here", time_limit(5))) continue;
      said[static_cast<std::size_t>(rank)] = std::move(hello);
      result_.sockets[static_cast<std::size_t>(rank)] = std::move(s);
      ++there;
    }
    // Everyone's address; "@": where rank 0 is, by whatever name the reader knows it.
    const std::string key = random_text();
    std::string welcome = "ok\n" + key + "\n" + machine_ + " @ 0\n";
    std::vector<std::string> machines{machine_};
    for (std::size_t r = 1; r < said.size(); ++r) {
      bool loopback = false;
      const std::string host = peer_of(result_.sockets[r].get(), loopback);
      machines.push_back(said[r][6]);
      welcome += said[r][6] + " " + (loopback || said[r][6] == machine_ ? "@" : host) + " " + said[r][7] + "\n";
    }
    for (std::size_t r = 1; r < said.size(); ++r)
      if (!send_text(result_.sockets[r].get(), welcome, limit_)) fail("rank " + std::to_string(r) + " ended before the run began; its own message says why");
    count_locals(machines);
  }

  // the others --------------------------------------------------------------------------------------------------------------
  /// Where rank 0 is; empty if its file is not there yet.
  std::vector<address> addresses(std::string& secret) const {
    std::vector<address> all;
    if (l_.meeting.file.empty()) {
      for (const int port : l_.meeting.ports) all.push_back({l_.meeting.host, port});
      return all;
    }
    struct stat status {};
    if (::stat(l_.meeting.file.c_str(), &status) != 0) return all;
    std::ifstream in(l_.meeting.file);
    const std::vector<std::string> lines = lines_of(std::string(std::istreambuf_iterator<char>(in), {}));
    if (lines.size() < 4 || lines[0] != greeting) return all;
    secret = lines[3];
    all.push_back({lines[1] == machine_ ? "127.0.0.1" : host_of(lines[1]), number_of(lines[2])});
    return all;
  }

  void call_rank_0() {
    std::string problem, secret;
    descriptor door;
    if (mesh_ && !(door = listen_at("", 0, problem))) refuse("cannot listen (" + problem + ")");
    descriptor s;
    address found;
    std::string reply, last = l_.meeting.file.empty() ? "" : "the file is not there";
    while (!s) {
      if (limit_.passed())
        refuse("no answer from rank 0 at " + where() + " within " + seconds_text(limit_.seconds()) + (last.empty() ? "" : " (" + last + ")") +
               "; is rank 0 running, and is that its address?");
      for (const address& a : addresses(secret)) {
        descriptor call = connect_once(a, limit_.milliseconds(2000), last);
        if (!call) continue;
        const std::string hello = std::string(greeting) + "\n" + version_text() + "\n" + std::to_string(l_.rank) + "\n" + std::to_string(l_.size) + "\n" +
                                  l_.run + "\n" + secret + "\n" + machine_ + "\n" + std::to_string(door ? port_of(door.get()) : 0) + "\n" + carrier() + "\n";
        last = "something else answers there";
        if (!send_text(call.get(), hello, time_limit(5)) || !receive_text(call.get(), reply, time_limit(5))) continue;
        if (reply.starts_with("no\n")) refuse(reply.substr(3));
        if (reply == "other") last = "rank 0 of another run answers there";
        if (reply != "here") continue;
        s = std::move(call);
        found = a;
        break;
      }
      if (!s) std::this_thread::sleep_for(std::chrono::milliseconds(limit_.milliseconds(50)));
    }
    const time_limit long_enough(limit_.seconds() + 5);  // rank 0 gives up first, and says why
    if (!receive_text(s.get(), reply, long_enough)) refuse("rank 0 at " + where() + " ended before the run began");
    if (!reply.starts_with("ok\n")) refuse(reply.starts_with("no\n") ? reply.substr(3) : "rank 0 at " + where() + " answers in another language");
    const std::vector<std::string> lines = lines_of(reply);
    if (lines.size() != static_cast<std::size_t>(l_.size) + 2) refuse("rank 0 at " + where() + " answers in another language");
    result_.sockets[0] = std::move(s);
    std::vector<std::string> machines;
    std::vector<address> peers;
    for (std::size_t r = 0; r < static_cast<std::size_t>(l_.size); ++r) {
      const std::string& line = lines[r + 2];
      const std::size_t port = line.find_last_of(' '), host = line.find_last_of(' ', port - 1);
      machines.push_back(line.substr(0, host));
      peers.push_back({line.substr(host + 1, port - host - 1), number_of(line.substr(port + 1))});
      if (peers.back().host == "@") peers.back().host = found.host;
    }
    count_locals(machines);
    if (!mesh_) return;
    const std::string& key = lines[1];
    for (std::size_t r = 1; r < static_cast<std::size_t>(l_.rank); ++r) {
      descriptor& to = result_.sockets[r];
      while (!(to = connect_once(peers[r], limit_.milliseconds(2000), last)) && !limit_.passed()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (!to || !send_text(to.get(), key + " " + std::to_string(l_.rank), limit_))
        refuse("cannot reach rank " + std::to_string(r) + " at " + peers[r].text() + " (" + last + "); processes must reach each other on any port");
    }
    for (int there = l_.rank + 1; there < l_.size;) {
      if (limit_.passed()) refuse("not all ranks above this one reached it; processes must reach each other on any port");
      descriptor from = accept_one(door.get(), limit_.milliseconds(200));
      std::string text;
      if (!from || !receive_text(from.get(), text, time_limit(5)) || !text.starts_with(key + " ")) continue;
      const int rank = number_of(text.substr(key.size() + 1));
      if (rank <= l_.rank || rank >= l_.size || result_.sockets[static_cast<std::size_t>(rank)]) continue;
      result_.sockets[static_cast<std::size_t>(rank)] = std::move(from);
      ++there;
    }
  }

  void count_locals(const std::vector<std::string>& machines) {
    result_.local_size = 0;
    for (std::size_t r = 0; r < machines.size(); ++r)
      if (machines[r] == machine_) {
        if (r < static_cast<std::size_t>(l_.rank)) ++result_.local_rank;
        ++result_.local_size;
      }
  }

  const launch& l_;
  bool mesh_;
  time_limit limit_;
  std::string machine_;
  meeting_result result_;
};

}  // namespace process

/// Every process of the launch must call it; throws launch_error within `seconds` if they do not all come, or do not fit together.
inline meeting_result meet(const launch& l, bool mesh, double seconds) { return process::meeting(l, mesh, seconds).run(); }

}  // namespace plait::inline v0_1
