// A fast hash of short texts for tables inside one process. Not for secrets, not for files: the seed decides.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace vigil::topics {

namespace detail {

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

template <class Word>
std::uint64_t load(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

}  // namespace detail

inline std::uint64_t hash_text(std::uint64_t seed, std::string_view text) {
  constexpr std::uint64_t kFirst = 0xa0761d6478bd642fULL;
  constexpr std::uint64_t kSecond = 0xe7037ed1a0b428dbULL;
  const char* at = text.data();
  std::size_t left = text.size();
  std::uint64_t hash = seed ^ kFirst;
  while (left > 8) {
    hash = detail::mix(hash ^ detail::load<std::uint64_t>(at), kSecond);
    at += 8;
    left -= 8;
  }
  // The last one to eight bytes; the loads may overlap, which the length makes unambiguous.
  std::uint64_t tail = 0;
  if (left >= 4) {
    tail = detail::load<std::uint32_t>(at) << 32U | detail::load<std::uint32_t>(at + left - 4);
  } else if (left > 0) {
    tail = detail::load<std::uint8_t>(at) << 16U | detail::load<std::uint8_t>(at + left / 2) << 8U |
           detail::load<std::uint8_t>(at + left - 1);
  }
  return detail::mix(hash ^ tail, kSecond ^ text.size());
}

}  // namespace vigil::topics
