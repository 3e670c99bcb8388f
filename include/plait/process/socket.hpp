#pragma once
// Sockets between processes: what rendezvous and links are made of. Every wait has an end.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace plait::inline v0_1 {

/// How the processes of a run were started or found each other is wrong: something that whoever starts them can put right.
struct launch_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

namespace process {

using clock = std::chrono::steady_clock;

class descriptor {
 public:
  explicit descriptor(int fd = -1) : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// A point in time that waits may not pass.
class time_limit {
 public:
  explicit time_limit(double seconds)
      : seconds_(seconds), end_(clock::now() + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(seconds))) {}
  bool passed() const { return clock::now() >= end_; }
  double seconds() const { return seconds_; }
  clock::time_point end() const { return end_; }
  /// For poll: what is left, at most `most` milliseconds.
  int milliseconds(int most) const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - clock::now()).count() + 1;
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, most));
  }

 private:
  double seconds_;
  clock::time_point end_;
};

inline std::string seconds_text(double seconds) {
  const auto whole = static_cast<long long>(seconds);
  return static_cast<double>(whole) == seconds ? std::to_string(whole) + " s" : std::to_string(seconds) + " s";
}

struct address {
  std::string host;
  int port = 0;
  std::string text() const { return host + ":" + std::to_string(port); }
};

/// What a host name stands for, tried in its order by `use`, which says whether it is content.
template <class Use>
bool each_address(const std::string& host, int port, bool to_listen, std::string& problem, Use use) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = (to_listen ? AI_PASSIVE : 0) | AI_NUMERICSERV;
  const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (error != 0) {
    problem = "the host name '" + host + "' is not known (" + ::gai_strerror(error) + ")";
    return false;
  }
  bool content = false;
  for (const addrinfo* a = found; a != nullptr && !content; a = a->ai_next) content = use(*a);
  ::freeaddrinfo(found);
  return content;
}

inline void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }
inline void prepare(int fd) {
  const int on = 1;
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

inline int port_of(int fd) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length);
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(name).sin6_port : reinterpret_cast<sockaddr_in&>(name).sin_port);
}

/// Who is at the other end, as a number that a socket can be opened to; `loopback`: on this machine, by a name nobody else can use.
inline std::string peer_of(int fd, bool& loopback) {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length);
  char text[NI_MAXHOST] = {};
  ::getnameinfo(reinterpret_cast<sockaddr*>(&name), length, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  const std::string host = text;
  loopback = host.starts_with("127.") || host == "::1" || host.starts_with("::ffff:127.");
  return host;
}

/// Listens at host:port (an empty host: everywhere; port 0: any free one). Empty if that is not possible; `problem` says why.
inline descriptor listen_at(const std::string& host, int port, std::string& problem) {
  descriptor out;
  each_address(host, port, true, problem, [&](const addrinfo& a) {
    descriptor s(::socket(a.ai_family, a.ai_socktype, a.ai_protocol));
    const int on = 1;
    if (s) ::setsockopt(s.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!s || ::bind(s.get(), a.ai_addr, a.ai_addrlen) != 0 || ::listen(s.get(), 1024) != 0) {
      problem = std::strerror(errno);
      return false;
    }
    prepare(s.get());
    out = std::move(s);
    return true;
  });
  return out;
}

/// One try; it may take `milliseconds` for each address of the host.
inline descriptor connect_once(const address& to, int milliseconds, std::string& problem) {
  descriptor out;
  each_address(to.host, to.port, false, problem, [&](const addrinfo& a) {
    descriptor s(::socket(a.ai_family, a.ai_socktype, a.ai_protocol));
    if (!s) return false;
    prepare(s.get());
    set_nonblocking(s.get());
    if (::connect(s.get(), a.ai_addr, a.ai_addrlen) != 0) {
      int error = errno;
      if (error == EINPROGRESS) {
        pollfd p{s.get(), POLLOUT, 0};
        error = ETIMEDOUT;
        socklen_t length = sizeof error;
        if (::poll(&p, 1, milliseconds) > 0) ::getsockopt(s.get(), SOL_SOCKET, SO_ERROR, &error, &length);
      }
      if (error != 0) {
        problem = std::strerror(error);
        return false;
      }
    }
    out = std::move(s);
    return true;
  });
  return out;
}

inline descriptor accept_one(int listener, int milliseconds) {
  pollfd p{listener, POLLIN, 0};
  if (::poll(&p, 1, milliseconds) <= 0) return descriptor();
  descriptor s(::accept(listener, nullptr, nullptr));
  if (s) {
    prepare(s.get());
    set_nonblocking(s.get());
  }
  return s;
}

/// All of it within the limit, or false (closed, or too late). The socket does not block.
inline bool send_all(int fd, const void* data, std::size_t bytes, const time_limit& limit) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::send(fd, at, bytes, MSG_NOSIGNAL);
    if (n > 0) {
      at += n;
      bytes -= static_cast<std::size_t>(n);
      continue;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    pollfd p{fd, POLLOUT, 0};
    if (limit.passed()) return false;
    ::poll(&p, 1, limit.milliseconds(1000));
  }
  return true;
}
inline bool receive_all(int fd, void* data, std::size_t bytes, const time_limit& limit) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::recv(fd, at, bytes, 0);
    if (n > 0) {
      at += n;
      bytes -= static_cast<std::size_t>(n);
      continue;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) return false;
    pollfd p{fd, POLLIN, 0};
    if (limit.passed()) return false;
    ::poll(&p, 1, limit.milliseconds(1000));
  }
  return true;
}

/// Texts of up to a megabyte, for the handshake.
inline bool send_text(int fd, const std::string& text, const time_limit& limit) {
  const std::uint32_t length = static_cast<std::uint32_t>(text.size());
  return send_all(fd, &length, sizeof length, limit) && send_all(fd, text.data(), text.size(), limit);
}
inline bool receive_text(int fd, std::string& text, const time_limit& limit) {
  std::uint32_t length = 0;
  if (!receive_all(fd, &length, sizeof length, limit) || length > (1u << 20)) return false;
  text.resize(length);
  return receive_all(fd, text.data(), length, limit);
}

}  // namespace process
}  // namespace plait::inline v0_1
