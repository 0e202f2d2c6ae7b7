// The commands of vigilmq-load and their options.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "load/connections.h"
#include "load/durability.h"
#include "load/generator.h"
#include "load/liveness.h"
#include "load/subscriptions.h"
#include "load/target.h"
#include "load/traffic.h"

namespace vigil::load {

struct Outcome {
  std::string text;  // a table, or a line of JSON
  int status = 0;    // of the process
};

// What the command line says. Stays where it is while options are read: CLI11 holds references to it.
class Command {
 public:
  Target target;
  HoldOptions hold;
  GeneratorOptions publish, subscribe;
  TrafficOptions traffic;
  ChurnOptions churn;
  SubscriptionsOptions subscriptions;
  LivenessOptions liveness;
  DurabilityOptions durability;
  bool json = false;
  std::function<Outcome()> chosen;

  // Throws std::exception with a sentence for the person who called.
  Outcome run() const { return chosen(); }
};

std::unique_ptr<Command> define_commands(CLI::App& app);

}  // namespace vigil::load
