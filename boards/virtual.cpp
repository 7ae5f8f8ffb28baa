// The world around a simulated board: its clocks, and a pseudo-terminal on its serial line.
//
// Arguments: cycles of the link's clock a bit; cycles of silence after which waiting may take real time; the file
// with what lies in the flash; the word of the memory that keeps a wrong bit, or -1.
// Prints the terminal's name on its first line and ends with the standard input.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

int open_terminal() {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) {
        perror("pseudo-terminal");
        exit(1);
    }
    // Our own handle on the other side keeps the terminal alive between two programs using it.
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    termios settings;
    tcgetattr(slave, &settings);
    cfmakeraw(&settings);
    tcsetattr(slave, TCSANOW, &settings);
    fcntl(master, F_SETFL, O_NONBLOCK);
    printf("%s\n", ptsname(master));
    fflush(stdout);
    return master;
}

// True once the standard input has ended.
bool ended() {
    pollfd in{0, POLLIN, 0};
    char byte;
    return poll(&in, 1, 0) > 0 && read(0, &byte, 1) <= 0;
}

#ifdef SDRAM_DELAY
// What the memory chip does with commands; its timing is the controller's own tests' affair.
struct Chip {
    static constexpr int kBurst = 8, kAhead = 64, kReadings = 3;
    std::vector<uint16_t> words = std::vector<uint16_t>(
        size_t(1) << (SDRAM_BANK_BITS + SDRAM_ROW_BITS + SDRAM_COLUMN_BITS));
    uint32_t row[1 << SDRAM_BANK_BITS] = {};
    uint16_t coming[kAhead] = {};
    long broken = -1, fades = -1, readings = 0;

    uint16_t &at(unsigned bank, unsigned column) {
        return words[((size_t(row[bank]) << SDRAM_BANK_BITS | bank) << SDRAM_COLUMN_BITS)
                     | (column & ((1u << SDRAM_COLUMN_BITS) - 1))];
    }

    // Before a clock edge: the word on the pins.
    uint16_t shown(long cycle) { return coming[cycle % kAhead]; }

    // After a clock edge: what the pins say now.
    void step(long cycle, const Vtop &top) {
        const unsigned bank = top.sdram___05Fba, address = top.sdram___05Fa;
        if (top.sdram___05Fcs_n || !top.sdram___05Fcke) return;
        const int command = top.sdram___05Fras_n << 2 | top.sdram___05Fcas_n << 1
                            | top.sdram___05Fwe_n;
        if (command == 3) row[bank] = address;                             // ACTIVE
        if (command == 4) {                                                // WRITE, one word
            uint16_t &word = at(bank, address);
            word = top.sdram___05Fdq_o ^ (&word - words.data() == broken);
        }
        for (int k = 0; command == 5 && k < kBurst; ++k) {                 // READ
            uint16_t &word = at(bank, (address & ~(kBurst - 1u)) | ((address + k) & (kBurst - 1u)));
            if (&word - words.data() == fades && ++readings == kReadings)
                word ^= 1;
            coming[(cycle + 1 + SDRAM_DELAY + k) % kAhead] = word;
        }
    }
};
#endif

#ifdef FLASH_OFFSET
// A flash that knows one command, READ in mode 0; to anything else it's blank.
struct Flash {
    std::vector<uint8_t> bytes = std::vector<uint8_t>(FLASH_SIZE, 0xff);
    bool selected = false, clock = false, understood = false;
    uint32_t command = 0;
    long bits = 0;

    explicit Flash(const char *path) {
        FILE *file = fopen(path, "rb");
        if (!file) {
            perror(path);
            exit(1);
        }
        fread(&bytes[FLASH_OFFSET], 1, FLASH_SIZE - FLASH_OFFSET, file);
        fclose(file);
    }

    // After a clock edge: what the pins say now, and what the flash shows from now on.
    void step(Vtop &top) {
        const bool rises = top.flash___05Fsck && !clock, falls = !top.flash___05Fsck && clock;
        clock = top.flash___05Fsck;
        if (top.flash___05Fcs_n || !selected) {
            selected = !top.flash___05Fcs_n;
            understood = !clock;
            bits = 0;
            return;
        }
        if (rises && bits++ < 32) command = command << 1 | top.flash___05Fcopi;
        if (falls && bits >= 32) {
            const uint32_t place = (command & 0xffffff) + (bits - 32) / 8;
            const uint8_t byte = understood && command >> 24 == 3 ? bytes[place % FLASH_SIZE] : 0xff;
            top.flash___05Fcipo = byte >> (7 - bits % 8) & 1;
        }
    }
};
#endif

struct Sender {  // bytes of the host, bit by bit
    std::deque<uint8_t> bytes;
    int divisor, timer = 0, left = 0;
    unsigned bits = 1;

    bool busy() const { return left || !bytes.empty(); }

    // `hold` keeps the next byte back.
    bool step(bool hold) {
        if (timer) {
            --timer;
            return bits & 1;
        }
        if (left > 1) {
            bits >>= 1;
            --left;
            timer = divisor - 1;
        } else if (!bytes.empty() && !hold) {
            bits = bytes.front() << 1 | 0x200;
            bytes.pop_front();
            left = 10;
            timer = divisor - 1;
        } else {
            left = 0;
            bits = 1;
        }
        return bits & 1;
    }
};

struct Listener {  // bits of the board, byte by byte
    int divisor, timer = 0, count = -1;
    unsigned bits = 0;

    // The byte that ends in this cycle, or -1.
    int step(bool line) {
        if (count < 0) {
            if (line) return -1;
            count = 0;
            bits = 0;
            timer = divisor / 2;
        }
        if (timer--) return -1;
        timer = divisor - 1;
        bits |= unsigned(line) << count;
        if (++count < 10) return -1;
        count = -1;
        return bits >> 1 & 0xff;
    }
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    const int divisor = atoi(argv[1]);
    const long silence = atol(argv[2]);
#ifdef FLASH_OFFSET
    Flash flash{argv[3]};
#endif
    const int terminal = open_terminal();
    VerilatedContext context;
    Vtop top{&context};
    Sender sender{{}, divisor};
    Listener listener{divisor};
#ifdef SDRAM_DELAY
    Chip chip;
    chip.broken = atol(argv[4]);
    chip.fades = atol(argv[5]);
    long memory_cycle = 0, memory_phase = 0;
#endif
    long phase = 0;
    top.rst = 0;
    top.rx = 1;
    for (long cycle = 0, quiet = 0;; ++cycle) {
        if (cycle % (16 * divisor) == 0 && !sender.busy()) {
            uint8_t data[4096];
            ssize_t count = read(terminal, data, sizeof data);
            if (count > 0) sender.bytes.insert(sender.bytes.end(), data, data + count);
        }
        if (cycle % 4096 == 0 && ended()) return 0;
        // Light 2 is the pipeline's. On a chip few bytes arrive while it is busy; here the line is
        // so fast that they would overrun the board's queue.
        const bool busy = top.lights & 4;
        top.rx = sender.step(busy);
        // The pipeline's clock makes so many cycles to one of the link's,
        for (phase += CLOCK_KHZ; phase >= LINK_KHZ; phase -= LINK_KHZ) {
#ifdef SDRAM_DELAY
            // and the memory's so many to one of the pipeline's.
            for (memory_phase += SDRAM_KHZ; memory_phase >= CLOCK_KHZ;
                 memory_phase -= CLOCK_KHZ, ++memory_cycle) {
                top.sdram___05Fdq_i = chip.shown(memory_cycle);
                top.memory_clk = 0;
                top.eval();
                top.memory_clk = 1;
                top.eval();
                chip.step(memory_cycle, top);
            }
#endif
            top.clk = 0;
            top.eval();
            top.clk = 1;
            top.eval();
        }
        top.link_clk = 0;
        top.eval();
        top.link_clk = 1;
        top.eval();
#ifdef FLASH_OFFSET
        flash.step(top);
#endif
        int heard = listener.step(top.tx);
        if (heard >= 0) {
            uint8_t byte = heard;
            if (write(terminal, &byte, 1) != 1 && errno != EAGAIN) return 1;
        }
        quiet = sender.busy() || listener.count >= 0 || busy ? 0 : quiet + 1;
        if (quiet > silence && cycle % 4096 == 0) usleep(1000);
    }
}
