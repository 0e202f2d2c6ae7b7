// Bytes as a sequence of subscribing, unsubscribing and matching, against the plain definition.
//
// A record is a command, a group letter, a subscriber, a length and that many bytes of text.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include "base/check.h"
#include "mqtt/topic.h"
#include "topics/interest_index.h"
#include "topics/retained_tree.h"
#include "topics/subscription_tree.h"

namespace {

using namespace vigil;

using Held = std::map<std::tuple<std::string, std::string, topics::SubscriberId>, std::uint32_t>;
using Found = std::multiset<std::tuple<std::string, topics::SubscriberId, std::uint32_t>>;

struct Reader {
  std::string_view rest;
  std::uint8_t byte() {
    if (rest.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(rest.front());
    rest.remove_prefix(1);
    return value;
  }
  std::string_view text(std::size_t size) {
    const auto value = rest.substr(0, size);
    rest.remove_prefix(value.size());
    return value;
  }
};

// The three trees in step, and what they should hold.
class Model {
 public:
  void add(const mqtt::TopicFilter& filter, topics::SubscriberId subscriber) {
    const auto key = key_of(filter, subscriber);
    const bool first = holders(filter) == 0;
    const auto result = tree_.add(filter, {.subscriber = subscriber, .subscription_id = ++step_, .options = {}});
    CHECK(result.first_of_filter == first);
    CHECK((result.added == topics::SubscriptionTree::Added::New) == !held_.contains(key));
    held_[key] = step_;
    report(filter);
  }

  void remove(const mqtt::TopicFilter& filter, topics::SubscriberId subscriber) {
    const bool there = held_.erase(key_of(filter, subscriber)) > 0;
    const auto result = tree_.remove(filter, subscriber);
    CHECK(result.removed == there);
    CHECK(result.last_of_filter == (there && holders(filter) == 0));
    CHECK(tree_.find(filter, subscriber) == nullptr);
    report(filter);
  }

  void match(std::string_view topic) {
    Found expected;
    for (const auto& [key, id] : held_) {
      const auto& [group, filter, subscriber] = key;
      if (mqtt::matches(filter, topic)) expected.emplace(group, subscriber, id);
    }
    Found found;
    const auto matches = tree_.match(topic);
    for (const auto span : matches.plain) {
      for (const auto& item : span) found.emplace("", item.subscriber, item.subscription_id);
    }
    for (const auto* group : matches.groups) {
      group->for_each([&](const topics::Subscription& item) {
        found.emplace(std::string(group->group()), item.subscriber, item.subscription_id);
      });
    }
    CHECK(found == expected);
    CHECK(tree_.size() == held_.size());
    const auto interest = index_.match(topic);
    CHECK((interest.targets != 0) == !matches.plain.empty());
    CHECK(interest.groups.size() == matches.groups.size());
  }

  void retain(std::string_view topic) {
    if (!retained_.erase(topic)) retained_.set(topic, ++step_);
  }

  void look_up(std::string_view filter) {
    std::size_t expected = 0;
    retained_.for_each(
        [&](std::string_view topic, std::uint32_t&) { expected += mqtt::matches(filter, topic) ? 1 : 0; });
    std::set<std::string> found;
    retained_.for_each_match(filter, [&](std::string_view topic, std::uint32_t& value) {
      CHECK(mqtt::matches(filter, topic));
      CHECK(retained_.find(topic) == &value);
      CHECK(found.emplace(topic).second);
    });
    CHECK(found.size() == expected);
  }

 private:
  static Held::key_type key_of(const mqtt::TopicFilter& filter, topics::SubscriberId subscriber) {
    return {std::string(filter.group), std::string(filter.filter), subscriber};
  }

  std::size_t holders(const mqtt::TopicFilter& filter) const {
    return static_cast<std::size_t>(std::ranges::count_if(held_, [&](const auto& item) {
      return std::get<0>(item.first) == filter.group && std::get<1>(item.first) == filter.filter;
    }));
  }

  // One target stands for the tree.
  void report(const mqtt::TopicFilter& filter) {
    const auto members = static_cast<std::uint32_t>(holders(filter));
    if (filter.shared()) {
      index_.set_group(filter.group, filter.filter, 1, {.members = members, .connected = members});
    } else if (members > 0) {
      index_.add(filter.filter, 1);
    } else {
      index_.remove(filter.filter, 1);
    }
    CHECK(index_.filters() == tree_.filters());
  }

  topics::SubscriptionTree tree_;
  topics::InterestIndex index_;
  topics::RetainedTree<std::uint32_t> retained_;
  Held held_;
  std::uint32_t step_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader reader{{reinterpret_cast<const char*>(data), size}};
  Model model;
  while (!reader.rest.empty()) {
    const auto command = reader.byte();
    const auto group = reader.byte() % 4;
    const topics::SubscriberId subscriber = reader.byte() % 40;
    const auto text = reader.text(reader.byte());
    std::string full(text);
    if (group > 0) full = std::string("$share/") + "_ghi"[group] + "/" + full;
    const auto filter = mqtt::TopicFilter::parse(full);
    switch (command % 5) {
      case 0:
        if (filter) model.add(*filter, subscriber);
        break;
      case 1:
        if (filter) model.remove(*filter, subscriber);
        break;
      case 2:
        if (mqtt::valid_topic_name(text)) model.match(text);
        break;
      case 3:
        if (mqtt::valid_topic_name(text)) model.retain(text);
        break;
      default:
        if (filter) model.look_up(filter->filter);
        break;
    }
  }
  return 0;
}
