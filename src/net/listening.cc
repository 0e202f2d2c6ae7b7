#include "net/listening.h"

#include <fmt/format.h>
#include <grp.h>

#include <charconv>
#include <optional>

#include "io/socket.h"
#include "net/pipe.h"
#include "net/port_holder.h"

namespace vigil::net {
namespace {

constexpr std::uint16_t kFirstFreePort = 1024;

bool is_missing_address(const std::error_code& error) {
  return error == std::errc::address_not_available || error == std::errc::address_family_not_supported;
}

io::Result<Listening> open(const io::Endpoint& endpoint, const io::UnixAccess& access) {
  TRY(io::Fd fd, io::bind(endpoint, access));
  TRY(io::Endpoint bound, io::local_endpoint(fd.get()));
  // The kernel calls a dual-stack socket [::], as it calls one for IPv6 alone.
  const bool dual =
      std::holds_alternative<io::AllInterfaces>(endpoint.value()) && std::holds_alternative<io::Ipv6>(bound.value());
  if (dual) bound = io::Endpoint(io::AllInterfaces{bound.port()});
  std::shared_ptr<io::SocketFile> file = io::SocketFile::of(endpoint);
  return Listening{.fd = std::move(fd), .endpoint = std::move(bound), .file = std::move(file)};
}

// A group by its name or number; none if there is no such group. To be asked before there are other threads.
std::optional<unsigned> group_id(const std::string& group) {
  if (const ::group* entry = ::getgrnam(group.c_str()); entry != nullptr) return entry->gr_gid;
  unsigned id = 0;
  const auto [end, error] = std::from_chars(group.data(), group.data() + group.size(), id);
  if (error != std::errc() || end != group.data() + group.size()) return std::nullopt;
  return id;
}

base::Result<io::UnixAccess, std::string> access_of(const ListenerSettings& listener) {
  io::UnixAccess access{.mode = listener.socket_mode, .group = {}};
  if (listener.socket_group.empty()) return access;
  access.group = group_id(listener.socket_group);
  if (!access.group) {
    return base::Err(fmt::format(
        "Listener {}: there is no group {} on this machine. Make it (groupadd {}), or set socket_group to one that "
        "exists (getent group shows them).",
        listener.name, listener.socket_group, listener.socket_group));
  }
  return access;
}

// For a Unix socket; empty if nothing special is to be said.
std::string unix_failure(const io::Endpoint& endpoint, const std::error_code& error, std::string_view group) {
  const std::string path = endpoint.host();
  if (error == std::errc::operation_not_permitted && !group.empty()) {
    return fmt::format(
        "Cannot give the socket {} to the group {}: this process is neither root nor a member of it. Make its user a "
        "member (SupplementaryGroups={} in the systemd unit) or choose another socket_group.",
        path, group, group);
  }
  if (error == std::errc::address_in_use) {
    return fmt::format(
        "{} exists already: another program listens on it (ss -lxp shows it), or it is no socket. Stop that program, "
        "remove the file or choose another path.",
        path);
  }
  if (error == std::errc::permission_denied || error == std::errc::read_only_file_system) {
    return fmt::format("Cannot make the socket {}: {}. Let this process write to its directory or choose another path.",
                       path, error.message());
  }
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    return fmt::format("Cannot make the socket {}: its directory does not exist. Make it or choose another path.",
                       path);
  }
  return {};
}

}  // namespace

std::string listen_failure(const io::Endpoint& endpoint, const std::error_code& error, std::string_view group) {
  if (endpoint.is_unix()) {
    if (std::string sentence = unix_failure(endpoint, error, group); !sentence.empty()) return sentence;
  }
  if (error == std::errc::address_in_use) {
    return fmt::format("Port {} on {} is already in use: {}.", endpoint.port(), endpoint.host(), port_holder(endpoint));
  }
  if (error == std::errc::permission_denied && endpoint.port() < kFirstFreePort) {
    return fmt::format(
        "Port {} on {} needs a right that this process does not have: ports below {} are reserved. Choose a higher "
        "port with --listen, or grant the right (AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit).",
        endpoint.port(), endpoint.host(), kFirstFreePort);
  }
  if (is_missing_address(error)) {
    return fmt::format(
        "This machine does not have the address {}. Choose one that it has (ip address shows them) or 0.0.0.0 for all "
        "of them.",
        endpoint.host());
  }
  if (error == std::errc::too_many_files_open || error == std::errc::too_many_files_open_in_system) {
    return fmt::format(
        "Cannot listen on {}: too few files may be open. Allow more (LimitNOFILE= in the systemd unit, or `ulimit -n` "
        "before the start).",
        endpoint.text());
  }
  return fmt::format("Cannot listen on {}: {}.", endpoint.text(), error.message());
}

base::Result<std::vector<Listening>, std::string> open_listeners(std::span<const ListenerSettings> listeners) {
  std::vector<Listening> all;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    const std::size_t before = all.size();
    TRY(const io::UnixAccess access, access_of(listeners[i]));
    for (const auto& [endpoint, if_available] : listeners[i].endpoints()) {
      io::Result<Listening> opened = open(endpoint, access);
      if (opened) {
        opened->listener = static_cast<std::uint16_t>(i);
        if (!endpoint.is_unix()) prepare_for_peers(opened->fd.get(), listeners[i].tcp);
        all.push_back(std::move(*opened));
      } else if (!if_available || !is_missing_address(opened.error())) {
        return base::Err(listen_failure(endpoint, opened.error(), listeners[i].socket_group));
      }
    }
    if (all.size() == before) {
      return base::Err(fmt::format("Listener {} has no address that this machine has.", listeners[i].name));
    }
  }
  return all;
}

base::Result<void, std::string> start_listening(std::span<const Listening> all,
                                                std::span<const ListenerSettings> listeners) {
  for (const Listening& one : all) {
    const ListenerSettings& listener = listeners[one.listener];
    const auto started = io::start_listening(one.fd.get(), static_cast<int>(listener.backlog));
    if (!started) return base::Err(listen_failure(one.endpoint, started.error(), listener.socket_group));
  }
  return {};
}

}  // namespace vigil::net
