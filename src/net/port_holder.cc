#include "net/port_holder.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/escape.h"

namespace vigil::net {
namespace {

constexpr std::size_t kMaxName = 256;
constexpr std::string_view kElsewhere = "choose another port with --listen";

template <class T>
std::optional<T> number(std::string_view text, int base) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "0100007F:075B", or 32 digits before the colon: words of four bytes, each as this machine keeps it in memory.
std::optional<io::Endpoint> parse_address(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon != 8 && colon != 32) return std::nullopt;
  const auto port = number<std::uint16_t>(text.substr(colon + 1), 16);
  if (!port) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 0; i < colon / 8; ++i) {
    const auto word = number<std::uint32_t>(text.substr(8 * i, 8), 16);
    if (!word) return std::nullopt;
    std::memcpy(bytes.data() + 4 * i, &*word, sizeof *word);
  }
  if (colon == 8) {
    io::Ipv4 v4{.port = *port};
    std::copy_n(bytes.begin(), v4.address.size(), v4.address.begin());
    return io::Endpoint(v4);
  }
  if (std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; })) {
    return io::Endpoint(io::AllInterfaces{*port});
  }
  return io::Endpoint(io::Ipv6{.address = bytes, .port = *port});
}

PortUse::State state_of(unsigned code) {
  constexpr unsigned kTimeWait = 6;
  constexpr unsigned kListen = 10;
  return code == kListen     ? PortUse::State::Listening
         : code == kTimeWait ? PortUse::State::TimeWait
                             : PortUse::State::Other;
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream all;
  if (const std::ifstream file(path); file) all << file.rdbuf();
  return std::move(all).str();
}

// Other users' processes do not show their files, unless to root.
std::optional<Process> find_process(std::uint64_t inode) {
  const std::string wanted = fmt::format("socket:[{}]", inode);
  std::error_code error;
  for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
    const auto id = number<int>(process.path().filename().string(), 10);
    if (!id) continue;
    std::error_code hidden;
    for (const auto& file : std::filesystem::directory_iterator(process.path() / "fd", hidden)) {
      std::error_code gone;
      if (std::filesystem::read_symlink(file.path(), gone) != wanted || gone) continue;
      std::string name = read_file(process.path() / "comm");
      if (name.ends_with('\n')) name.pop_back();
      return Process{*id, std::move(name)};
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<PortUse> parse_tcp_table(std::string_view text) {
  std::vector<PortUse> uses;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    // sl local remote state queues timer retransmits uid timeout inode ...
    std::istringstream words(line);
    std::array<std::string, 10> word;
    for (std::string& one : word) words >> one;
    const auto local = parse_address(word[1]);
    const auto state = number<unsigned>(word[3], 16);
    const auto inode = number<std::uint64_t>(word[9], 10);
    if (local && state && inode) uses.push_back({*local, state_of(*state), *inode});
  }
  return uses;
}

std::string explain_port(const io::Endpoint& wanted, std::span<const PortUse> uses, const FindProcess& find) {
  const auto first = [&](PortUse::State state) -> const PortUse* {
    const auto found = std::ranges::find_if(
        uses, [&](const PortUse& use) { return use.state == state && use.local.collides_with(wanted); });
    return found == uses.end() ? nullptr : &*found;
  };
  const auto owner = [&](const PortUse& use) { return use.inode != 0 ? find(use.inode) : std::nullopt; };
  if (const PortUse* use = first(PortUse::State::Listening); use != nullptr) {
    if (const auto process = owner(*use)) {
      return fmt::format("{} (process {}) listens on {}. Stop it or {}", base::escaped(process->name, kMaxName),
                         process->id, use->local.text(), kElsewhere);
    }
    return fmt::format("another program listens on {} (ss -ltnp, as root, shows which). Stop it or {}",
                       use->local.text(), kElsewhere);
  }
  if (const PortUse* use = first(PortUse::State::Other); use != nullptr) {
    if (const auto process = owner(*use)) {
      return fmt::format("nobody listens there, but {} (process {}) has a connection on it. Stop it or {}",
                         base::escaped(process->name, kMaxName), process->id, kElsewhere);
    }
  }
  if (first(PortUse::State::TimeWait) != nullptr || first(PortUse::State::Other) != nullptr) {
    return fmt::format(
        "nobody listens there, but the system still remembers connections of a program that has ended (TIME-WAIT). "
        "Start again in a minute or {}",
        kElsewhere);
  }
  return fmt::format("another program has it (ss -ltnp, as root, shows which). Stop that program or {}", kElsewhere);
}

std::string port_holder(const io::Endpoint& wanted) {
  std::vector<PortUse> uses = parse_tcp_table(read_file("/proc/net/tcp"));
  std::ranges::copy(parse_tcp_table(read_file("/proc/net/tcp6")), std::back_inserter(uses));
  return explain_port(wanted, uses, find_process);
}

}  // namespace vigil::net
