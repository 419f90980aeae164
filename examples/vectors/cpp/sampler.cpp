// A sampler in C++17, and the program that `vectors check` runs.
//
//     g++ -O2 -std=c++17 sampler.cpp -o sampler          (nlohmann-json3-dev on Debian)
//     completions-spec conformance vectors check ./sampler
//
// Compile without -ffast-math: it assumes that there are no infinities.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

using json = nlohmann::json;
using Logits = std::vector<float>;
using Ids = std::vector<int64_t>;

const float NEG_INF = -std::numeric_limits<float>::infinity();

// ---------------------------------------------------------------------------------------- steps

float maximum(const Logits& x) { return *std::max_element(x.begin(), x.end()); }

// The first id with the highest value.
size_t argmax(const std::vector<float>& x) {
    return std::max_element(x.begin(), x.end()) - x.begin();
}

std::vector<double> softmax(const Logits& x) {
    const float top = maximum(x);
    std::vector<double> p(x.size());
    for (size_t i = 0; i < x.size(); ++i) p[i] = std::exp(double(x[i]) - top);
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) value /= total;
    return p;
}

void mask(Logits& x, const Ids& allowed) {
    Logits kept(x.size(), NEG_INF);
    for (int64_t id : allowed) kept[id] = x[id];
    x = kept;
}

void repetition_penalty(Logits& x, const Ids& prompt, const Ids& output, float penalty) {
    std::set<int64_t> present(prompt.begin(), prompt.end());
    present.insert(output.begin(), output.end());
    for (int64_t id : present) x[id] = x[id] > 0 ? x[id] / penalty : x[id] * penalty;
}

void frequency_penalty(Logits& x, const Ids& output, float penalty) {
    std::map<int64_t, int> counts;
    for (int64_t id : output) ++counts[id];
    for (auto [id, count] : counts) x[id] -= penalty * float(count);
}

void presence_penalty(Logits& x, const Ids& output, float penalty) {
    for (int64_t id : std::set<int64_t>(output.begin(), output.end())) x[id] -= penalty;
}

// The result has a maximum of 0. Below the smallest normal number, division would give NaN.
void temperature(Logits& x, float value) {
    if (value < std::numeric_limits<float>::min()) {
        const size_t best = argmax(x);
        std::fill(x.begin(), x.end(), NEG_INF);
        x[best] = 0;
        return;
    }
    const float top = maximum(x);
    for (float& logit : x) logit = (logit - top) / value;
}

void drop_below(Logits& x, float threshold) {
    for (float& logit : x)
        if (logit < threshold) logit = NEG_INF;
}

void min_p(Logits& x, float fraction) {
    const float top = maximum(x);
    for (float& logit : x)
        if (std::exp(logit - top) < fraction) logit = NEG_INF;
}

void top_k(Logits& x, int64_t k) {
    if (k <= 0 || k >= int64_t(x.size())) return;
    Logits sorted = x;
    std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<>());
    drop_below(x, sorted[k - 1]);  // keeps ties
}

// Equal logits are added together, so the order in which a sort leaves them does not matter.
void top_p(Logits& x, float mass) {
    if (mass >= 1) return;
    Logits sorted = x;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const std::vector<double> p = softmax(sorted);
    double reached = 0;
    for (size_t i = 0; i < sorted.size();) {
        const float level = sorted[i];
        for (; i < sorted.size() && sorted[i] == level; ++i) reached += p[i];
        if (reached >= double(mass)) return drop_below(x, level);
    }
}

// --------------------------------------------------------------------------------------- random

using Words = std::pair<uint32_t, uint32_t>;

uint32_t rotate(uint32_t word, int distance) { return (word << distance) | (word >> (32 - distance)); }

Words threefry(Words key, Words counter) {
    static const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    const uint32_t schedule[3] = {key.first, key.second, key.first ^ key.second ^ 0x1BD11BDA};
    uint32_t a = counter.first + schedule[0], b = counter.second + schedule[1];
    for (uint32_t group = 0; group < 5; ++group) {
        for (int distance : rotations[group % 2]) {
            a += b;
            b = rotate(b, distance) ^ a;
        }
        a += schedule[(group + 1) % 3];
        b += schedule[(group + 2) % 3] + group + 1;
    }
    return {a, b};
}

// A seed is a decimal number from −2⁶³ to 2⁶⁴ − 1; its key is the number modulo 2⁶⁴.
Words seed_key(const std::string& seed) {
    const bool negative = seed[0] == '-';
    uint64_t value = std::strtoull(seed.c_str() + negative, nullptr, 10);
    if (negative) value = -value;
    return {uint32_t(value >> 32), uint32_t(value)};
}

Words draw_key(const std::string& seed, uint32_t choice, uint32_t position) {
    return threefry(threefry(seed_key(seed), {0, choice}), {0, position});
}

uint32_t random_word(Words key, uint32_t id) {
    const Words words = threefry(key, {0, id});
    return words.first ^ words.second;
}

float gumbel(uint32_t bits) {
    const float u = std::min((float(bits) + 0.5f) * 0x1p-32f, 1 - 0x1p-24f);
    return -std::log(-std::log1p(-u));
}

size_t draw(const Logits& x, Words key) {
    Logits scores = x;
    for (size_t i = 0; i < x.size(); ++i) scores[i] += gumbel(random_word(key, uint32_t(i)));
    return argmax(scores);
}

// ----------------------------------------------------------------------------------------- text

// The text that is safe to emit after each part, until a stop string is complete.
struct StopStrings {
    std::vector<std::string> stops;
    std::string withheld;

    std::pair<std::string, std::optional<std::string>> push(const std::string& part) {
        std::string text = withheld + part;
        std::optional<std::string> match;
        size_t first_end = std::string::npos;
        for (const std::string& stop : stops) {
            const size_t at = text.find(stop);
            if (at != std::string::npos && at + stop.size() < first_end) {
                first_end = at + stop.size();
                match = stop;
            }
        }
        if (match) return {text.substr(0, first_end - match->size()), match};
        size_t keep = 0;
        for (const std::string& stop : stops)
            for (size_t n = std::min(text.size(), stop.size() - 1); n > keep; --n)
                if (text.compare(text.size() - n, n, stop, 0, n) == 0) keep = n;
        withheld = text.substr(text.size() - keep);
        return {text.substr(0, text.size() - keep), std::nullopt};
    }
};

const std::string REPLACEMENT = "\xEF\xBF\xBD";

// Decodes UTF-8 byte by byte. A byte that cannot continue the pending ones makes them U+FFFD.
struct Detokenizer {
    std::string pending;
    int missing = 0;  // bytes until the character is complete
    uint8_t low = 0x80, high = 0xBF;  // the range of the next byte

    std::string push(const std::string& bytes) {
        std::string text;
        for (uint8_t byte : bytes) {
            if (missing && (byte < low || byte > high)) text += flush();
            if (missing) {
                pending += char(byte);
                low = 0x80, high = 0xBF;
                if (--missing == 0) text += std::exchange(pending, "");
            } else if (byte < 0x80) {
                text += char(byte);
            } else {
                start(byte, text);
            }
        }
        return text;
    }

    void start(uint8_t byte, std::string& text) {
        low = 0x80, high = 0xBF;
        missing = byte >= 0xC2 && byte <= 0xDF ? 1 : (byte & 0xF0) == 0xE0 ? 2
                : byte >= 0xF0 && byte <= 0xF4 ? 3 : 0;
        if (!missing) { text += REPLACEMENT; return; }
        if (byte == 0xE0) low = 0xA0;   // no overlong form,
        if (byte == 0xED) high = 0x9F;  // no surrogate,
        if (byte == 0xF0) low = 0x90;
        if (byte == 0xF4) high = 0x8F;  // nothing above U+10FFFF
        pending = std::string(1, char(byte));
    }

    std::string flush() {
        missing = 0;
        return std::exchange(pending, "").empty() ? "" : REPLACEMENT;
    }
};

std::string from_hex(const std::string& hex) {
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2) bytes += char(std::stoi(hex.substr(i, 2), nullptr, 16));
    return bytes;
}

// --------------------------------------------------------------------------------------- answers

Logits read_logits(const json& values) {
    Logits x;
    for (const json& value : values) x.push_back(value.is_null() ? NEG_INF : value.get<float>());
    return x;
}

json write_logits(const Logits& x) {
    json values = json::array();
    for (float logit : x) values.push_back(std::isinf(logit) ? json() : json(double(logit)));
    return values;
}

// A tensor of wide.safetensors: 8 bytes of length, a JSON header, then the data.
Logits read_tensor(const std::string& name) {
    std::ifstream file(std::string(std::getenv("VECTORS_DIR")) + "/wide.safetensors", std::ios::binary);
    uint64_t size = 0;
    file.read(reinterpret_cast<char*>(&size), 8);
    std::string header(size, ' ');
    file.read(header.data(), std::streamsize(size));
    const json entry = json::parse(header)[name];
    const uint64_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    std::vector<char> data(end - begin);
    file.seekg(std::streamoff(8 + size + begin));
    file.read(data.data(), std::streamsize(data.size()));
    const bool half = entry["dtype"] == "BF16";
    Logits x(data.size() / (half ? 2 : 4));
    for (size_t i = 0; i < x.size(); ++i) {
        uint32_t bits = 0;
        std::memcpy(half ? reinterpret_cast<char*>(&bits) + 2 : reinterpret_cast<char*>(&bits),
                    data.data() + i * (half ? 2 : 4), half ? 2 : 4);  // little-endian
        std::memcpy(&x[i], &bits, 4);
    }
    return x;
}

size_t count_kept(const Logits& x) {
    return std::count_if(x.begin(), x.end(), [](float logit) { return logit > NEG_INF; });
}

// Apply the steps in their order. An absent parameter is off.
Logits apply_steps(Logits x, const json& in, json* counts = nullptr) {
    const Ids none, prompt = in.value("prompt", none), output = in.value("output", none);
    const auto after = [&](const char* step) { if (counts) (*counts)[step] = count_kept(x); };
    if (in.contains("allowed")) mask(x, in["allowed"]);
    after("response_format");
    repetition_penalty(x, prompt, output, in.value("repetition_penalty", 1.0f));
    after("repetition_penalty");
    frequency_penalty(x, output, in.value("frequency_penalty", 0.0f));
    after("frequency_penalty");
    presence_penalty(x, output, in.value("presence_penalty", 0.0f));
    after("presence_penalty");
    temperature(x, in.value("temperature", 1.0f));
    after("temperature");
    min_p(x, in.value("min_p", 0.0f));
    after("min_p");
    top_k(x, in.value("top_k", int64_t(0)));
    after("top_k");
    top_p(x, in.value("top_p", 1.0f));
    after("top_p");
    return x;
}

json kept(const Logits& x) {
    json ids = json::array();
    for (size_t i = 0; i < x.size(); ++i)
        if (x[i] > NEG_INF) ids.push_back(i);
    return ids;
}

json chain(const json& in) {
    json counts;
    const Logits x = apply_steps(read_logits(in["logits"]), in, &counts);
    return {{"kept", kept(x)}, {"probabilities", softmax(x)}, {"counts", counts}};
}

json one_step(const json& in, const std::function<void(Logits&)>& step) {
    Logits x = read_logits(in["logits"]);
    step(x);
    return {{"logits", write_logits(x)}};
}

json threefry_answer(const json& in) {
    if (in.contains("counter")) {
        const Words words = threefry({in["key"][0], in["key"][1]}, {in["counter"][0], in["counter"][1]});
        return {{"words", {words.first, words.second}}};
    }
    Words key = seed_key(in["seed"]);
    if (in.contains("choice")) key = draw_key(in["seed"], in["choice"], in["position"]);
    if (!in.contains("vocab_size")) return {{"words", {key.first, key.second}}};
    json words = json::array();
    for (uint32_t i = 0; i < in["vocab_size"].get<uint32_t>(); ++i) words.push_back(random_word(key, i));
    return {{"words", words}};
}

// Sampled with the generator of the standard library, as a program without Threefry would.
json distribution(const json& in) {
    const std::vector<double> p = softmax(apply_steps(read_logits(in["logits"]), in));
    static std::mt19937_64 generator(std::random_device{}());
    std::discrete_distribution<int> choose(p.begin(), p.end());
    json tokens = json::array();
    for (int i = 0; i < 2000; ++i) tokens.push_back(choose(generator));
    return {{"tokens", tokens}};
}

json logprobs(const json& in) {
    const Logits x = read_logits(in["logits"]);
    const size_t token = in["token"], top = std::min(in["top"].get<size_t>(), x.size());
    double total = 0;
    for (float logit : x) total += std::exp(double(logit) - maximum(x));
    const auto value = [&](size_t id) { return double(x[id]) - maximum(x) - std::log(total); };
    std::vector<size_t> ids(x.size());
    std::iota(ids.begin(), ids.end(), size_t(0));
    std::stable_sort(ids.begin(), ids.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
    ids.resize(top);
    if (std::find(ids.begin(), ids.end(), token) == ids.end()) ids.push_back(token);
    json values = json::array();
    for (size_t id : ids) values.push_back(value(id));
    return {{"logprob", value(token)}, {"top_ids", ids}, {"top_logprobs", values}};
}

json stop(const json& in) {
    StopStrings search{in["stop"], ""};
    json deltas = json::array(), reason;
    std::string whole;
    for (const json& part : in["parts"]) {
        auto [text, match] = search.push(part);
        const bool last = deltas.size() + 1 == in["parts"].size();
        if (!match && last) text += search.withheld;
        deltas.push_back(text);
        whole += text;
        if (match) { reason = *match; break; }
    }
    return {{"deltas", deltas}, {"text", whole}, {"stop_reason", reason}};
}

json finish(const json& in) {
    const auto has = [&](const char* name) {
        const Ids ids = in[name];
        return std::find(ids.begin(), ids.end(), in["token"].get<int64_t>()) != ids.end();
    };
    if (has("eos_token_ids")) return {{"finish_reason", "stop"}, {"stop_reason", json()}};
    if (has("stop_token_ids")) return {{"finish_reason", "stop"}, {"stop_reason", in["token"]}};
    const bool ended = in["generated"] >= in["budget"];
    return {{"finish_reason", ended ? json("length") : json()}, {"stop_reason", json()}};
}

json budget(const json& in) {
    const int64_t room = in["context"].get<int64_t>() - in["prompt_length"].get<int64_t>();
    if (room < 1) return {{"budget", json()}};
    const int64_t wanted = in["max_tokens"].is_null() ? 16384 : in["max_tokens"].get<int64_t>();
    return {{"budget", std::min(wanted, room)}};
}

json detokenization(const json& in) {
    Detokenizer detokenizer;
    json deltas = json::array();
    std::string whole;
    bool strip = in["strip_space"];
    for (const json& piece : in["pieces"]) {
        std::string bytes = from_hex(piece);
        if (std::exchange(strip, false) && bytes[0] == ' ') bytes.erase(0, 1);
        std::string text = detokenizer.push(bytes);
        if (deltas.size() + 1 == in["pieces"].size()) text += detokenizer.flush();
        deltas.push_back(text);
        whole += text;
    }
    return {{"deltas", deltas}, {"text", whole}};
}

const std::map<std::string, std::function<json(const json&)>> FAMILIES = {
    {"mask", [](const json& in) { return one_step(in, [&](Logits& x) { mask(x, in["allowed"]); }); }},
    {"repetition_penalty", [](const json& in) {
        return one_step(in, [&](Logits& x) {
            repetition_penalty(x, in["prompt"], in["output"], in["repetition_penalty"]);
        });
    }},
    {"frequency_penalty", [](const json& in) {
        return one_step(in, [&](Logits& x) { frequency_penalty(x, in["output"], in["frequency_penalty"]); });
    }},
    {"presence_penalty", [](const json& in) {
        return one_step(in, [&](Logits& x) { presence_penalty(x, in["output"], in["presence_penalty"]); });
    }},
    {"temperature", [](const json& in) {
        return one_step(in, [&](Logits& x) { temperature(x, in["temperature"]); });
    }},
    {"min_p", [](const json& in) { return one_step(in, [&](Logits& x) { min_p(x, in["min_p"]); }); }},
    {"top_k", [](const json& in) { return one_step(in, [&](Logits& x) { top_k(x, in["top_k"]); }); }},
    {"top_p", [](const json& in) { return one_step(in, [&](Logits& x) { top_p(x, in["top_p"]); }); }},
    {"chain", chain},
    {"wide", [](const json& in) {
        return json{{"kept", kept(apply_steps(read_tensor(in["tensor"]), in))}};
    }},
    {"threefry", threefry_answer},
    {"gumbel", [](const json& in) {
        json noise = json::array();
        for (const json& bits : in["bits"]) noise.push_back(double(gumbel(bits)));
        return json{{"noise", noise}};
    }},
    {"draw", [](const json& in) {
        const Logits x = apply_steps(read_logits(in["logits"]), in);
        return json{{"token", draw(x, draw_key(in["seed"], in["choice"], in["position"]))}};
    }},
    {"distribution", distribution},
    {"logprobs", logprobs},
    {"stop", stop},
    {"finish", finish},
    {"budget", budget},
    {"detokenization", detokenization},
};

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        const json question = json::parse(line);
        json answer = {{"unsupported", true}};
        if (auto family = FAMILIES.find(question["family"]); family != FAMILIES.end())
            answer = family->second(question["input"]);
        answer["id"] = question["id"];
        std::cout << answer.dump() << std::endl;
    }
}
