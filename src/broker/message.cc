#include "broker/message.h"

#include <cstring>
#include <new>

namespace vigil::broker {

Message::Message(const Spec& spec)
    : payload_size_(static_cast<std::uint32_t>(spec.payload.size())),
      properties_size_(static_cast<std::uint32_t>(spec.properties.size())),
      topic_size_(static_cast<std::uint16_t>(spec.topic.size())),
      qos_(spec.qos),
      retain_(spec.retain),
      expires_(spec.expires),
      publisher_(spec.publisher),
      position_(spec.position) {
  auto* to = reinterpret_cast<std::uint8_t*>(this + 1);
  const auto append = [&to](const void* from, std::size_t size) {
    if (size > 0) std::memcpy(to, from, size);
    to += size;
  };
  append(spec.topic.data(), spec.topic.size());
  append(spec.properties.data(), spec.properties.size());
  append(spec.payload.data(), spec.payload.size());
}

MessagePtr Message::make(const Spec& spec) {
  const std::size_t size = sizeof(Message) + spec.topic.size() + spec.properties.size() + spec.payload.size();
  return MessagePtr(new (::operator new(size)) Message(spec));
}

void Message::destroy(Message* message) {
  message->~Message();
  ::operator delete(message);
}

}  // namespace vigil::broker
