// An application message: immutable, counted, in one allocation, shared by shards and receivers.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "broker/ids.h"
#include "mqtt/types.h"

namespace vigil::broker {

class Message;

// Owns a share of a message. Copies may be made and dropped on any thread.
class MessagePtr {
 public:
  MessagePtr() = default;
  MessagePtr(const MessagePtr& other);
  MessagePtr(MessagePtr&& other) noexcept : message_(std::exchange(other.message_, nullptr)) {}
  MessagePtr& operator=(MessagePtr other) noexcept {
    std::swap(message_, other.message_);
    return *this;
  }
  ~MessagePtr();

  explicit operator bool() const { return message_ != nullptr; }
  const Message& operator*() const { return *message_; }
  const Message* operator->() const { return message_; }
  const Message* get() const { return message_; }
  bool operator==(const MessagePtr&) const = default;

 private:
  friend class Message;
  explicit MessagePtr(Message* adopted) : message_(adopted) {}
  Message* message_ = nullptr;
};

class Message {
 public:
  struct Spec {
    std::string_view topic;
    base::Bytes payload;
    base::Bytes
        properties;  // 5.0, encoded: what is passed on unaltered (no message expiry, alias or subscription identifier)
    mqtt::QoS qos = mqtt::QoS::AtMostOnce;
    bool retain = false;
    base::Instant expires = base::Instant::never();
    Publisher publisher;
    Position position;
  };
  static MessagePtr make(const Spec& spec);

  std::string_view topic() const { return {text(), topic_size_}; }
  base::Bytes properties() const { return {data() + topic_size_, properties_size_}; }
  base::Bytes payload() const { return {data() + topic_size_ + properties_size_, payload_size_}; }
  mqtt::QoS qos() const { return qos_; }
  bool retain() const { return retain_; }
  base::Instant expires() const { return expires_; }
  bool expired(base::Instant now) const { return expires_ <= now; }
  const Publisher& publisher() const { return publisher_; }
  Position position() const { return position_; }
  // What it occupies in a queue, in bytes.
  std::size_t size() const { return sizeof(Message) + topic_size_ + properties_size_ + payload_size_; }

  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

 private:
  friend class MessagePtr;
  explicit Message(const Spec& spec);
  ~Message() = default;
  const std::uint8_t* data() const { return reinterpret_cast<const std::uint8_t*>(this + 1); }
  const char* text() const { return reinterpret_cast<const char*>(this + 1); }
  static void destroy(Message* message);

  std::atomic<std::uint32_t> references_{1};
  std::uint32_t payload_size_;
  std::uint32_t properties_size_;
  std::uint16_t topic_size_;
  mqtt::QoS qos_;
  bool retain_;
  base::Instant expires_;
  Publisher publisher_;
  Position position_;
};

inline MessagePtr::MessagePtr(const MessagePtr& other) : message_(other.message_) {
  if (message_ != nullptr) message_->references_.fetch_add(1, std::memory_order_relaxed);
}
inline MessagePtr::~MessagePtr() {
  if (message_ != nullptr && message_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    Message::destroy(message_);
  }
}

}  // namespace vigil::broker
