//! Programs of the classic BPF (S. McCanne, V. Jacobson: The BSD Packet Filter, 1993), as libpcap compiles filters to.
//!
//! Jumps only go forward, so that a program runs no longer than it is; all else that could go wrong is refused before it runs, or ends it
//! with "not wanted", as in kernels.

/// The most instructions of a program, as in Linux (BPF_MAXINSNS).
pub const INSTRUCTIONS_MAX: usize = 4096;

/// Words of the scratch memory (BPF_MEMWORDS).
const MEMORY: usize = 16;

/// An instruction as libpcap writes it (`tcpdump -ddd`): code, jump if true, jump if false, constant.
pub type Instruction = (u16, u8, u8, u32);

/// What is wrong with a program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProgramError {
    /// It has no instructions, or too many.
    #[error("a filter has 1 to {INSTRUCTIONS_MAX} instructions, and this one has {0}; ask for less at once")]
    Length(usize),
    /// An instruction is not one, or leads out of the program.
    #[error(
        "instruction {at} of the filter, code {code:#x}, {what}; `tcpdump -ddd FILTER` prints programs that are right"
    )]
    Instruction {
        /// Its number, from 0.
        at: usize,
        /// Its code.
        code: u16,
        /// What is wrong.
        what: &'static str,
    },
}

/// What a program looks at.
pub trait Packet {
    /// The packet's length in bytes.
    fn length(&self) -> u32;

    /// These bytes of it; `None` if it ends before.
    fn bytes(&mut self, at: u64, count: usize) -> Option<&[u8]>;
}

/// Which packets are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program(Box<[Step]>);

/// An operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operand {
    Constant(u32),
    Index,
}

/// Which of the two registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Register {
    Accumulator,
    Index,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    Bits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Calculation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Negate,
    Remainder,
    ExclusiveOr,
}

/// An instruction that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Loads bytes of the packet, at a place that may count from the index register.
    Packet {
        at: u32,
        count: usize,
        indexed: bool,
    },
    /// Loads four times the low four bits of a byte into the index register: the length of an IPv4 header.
    HeaderLength(u32),
    Constant(Register, u32),
    Length(Register),
    Recall(Register, usize),
    Store(Register, usize),
    Calculate(Calculation, Operand),
    Jump(usize),
    Branch {
        test: Test,
        operand: Operand,
        yes: usize,
        no: usize,
    },
    Return(Option<u32>),
    Move {
        to: Register,
    },
}

impl Program {
    /// Checks a program.
    ///
    /// # Errors
    /// It is empty or too long, knows no such instruction, jumps out of itself, or need not end.
    pub fn new(instructions: &[Instruction]) -> Result<Self, ProgramError> {
        let length = instructions.len();
        if length == 0 || length > INSTRUCTIONS_MAX {
            return Err(ProgramError::Length(length));
        }
        let wrong = |at: usize, what| ProgramError::Instruction { at, code: instructions[at].0, what };
        let mut steps = Vec::with_capacity(length);
        for (at, instruction) in instructions.iter().enumerate() {
            let step = step(*instruction, at).map_err(|what| wrong(at, what))?;
            let leaves = match step {
                Step::Jump(to) => to >= length,
                Step::Branch { yes, no, .. } => yes.max(no) >= length,
                Step::Return(_) => false,
                _ => at + 1 >= length,
            };
            if leaves {
                return Err(wrong(at, "leads out of it"));
            }
            steps.push(step);
        }
        Ok(Self(steps.into()))
    }

    /// Whether a packet is wanted; `left` is lessened by the steps that it took.
    pub fn wants(&self, packet: &mut impl Packet, left: &mut u32) -> bool {
        let mut machine = Machine::default();
        let mut at = 0;
        while let Some(step) = self.0.get(at) {
            *left = left.saturating_sub(1);
            match machine.step(*step, packet) {
                Some(Next::Step) => at += 1,
                Some(Next::Jump(to)) => at = to,
                Some(Next::End(wanted)) => return wanted,
                // It asked for bytes that the packet has not, or divided by nothing.
                None => return false,
            }
        }
        false
    }
}

/// What an instruction means.
fn step((code, yes, no, constant): Instruction, at: usize) -> Result<Step, &'static str> {
    const UNKNOWN: &str = "is not known";
    let operand = if code & 8 == 0 { Operand::Constant(constant) } else { Operand::Index };
    let place = || usize::try_from(constant).ok().filter(|place| *place < MEMORY);
    let place = || place().ok_or("has no such word of memory");
    let jump = |by: u32| (by as usize).saturating_add(at).saturating_add(1);
    Ok(match code {
        0x20 => Step::Packet { at: constant, count: 4, indexed: false },
        0x28 => Step::Packet { at: constant, count: 2, indexed: false },
        0x30 => Step::Packet { at: constant, count: 1, indexed: false },
        0x40 => Step::Packet { at: constant, count: 4, indexed: true },
        0x48 => Step::Packet { at: constant, count: 2, indexed: true },
        0x50 => Step::Packet { at: constant, count: 1, indexed: true },
        0xb1 => Step::HeaderLength(constant),
        0x00 => Step::Constant(Register::Accumulator, constant),
        0x01 => Step::Constant(Register::Index, constant),
        0x80 => Step::Length(Register::Accumulator),
        0x81 => Step::Length(Register::Index),
        0x60 => Step::Recall(Register::Accumulator, place()?),
        0x61 => Step::Recall(Register::Index, place()?),
        0x02 => Step::Store(Register::Accumulator, place()?),
        0x03 => Step::Store(Register::Index, place()?),
        0x05 => Step::Jump(jump(constant)),
        0x06 => Step::Return(Some(constant)),
        0x16 => Step::Return(None),
        0x07 => Step::Move { to: Register::Index },
        0x87 => Step::Move { to: Register::Accumulator },
        _ if code & 7 == 5 => {
            let test = test(code & !0xf).ok_or(UNKNOWN)?;
            Step::Branch { test, operand, yes: jump(yes.into()), no: jump(no.into()) }
        }
        _ if code & 7 == 4 => Step::Calculate(calculation(code & !0xf, operand)?, operand),
        _ => return Err(UNKNOWN),
    })
}

fn test(code: u16) -> Option<Test> {
    Some(match code {
        0x10 => Test::Equal,
        0x20 => Test::Greater,
        0x30 => Test::GreaterOrEqual,
        0x40 => Test::Bits,
        _ => return None,
    })
}

fn calculation(code: u16, operand: Operand) -> Result<Calculation, &'static str> {
    if matches!((code, operand), (0x30 | 0x90, Operand::Constant(0))) {
        return Err("divides by nothing");
    }
    Ok(match code {
        0x00 => Calculation::Add,
        0x10 => Calculation::Subtract,
        0x20 => Calculation::Multiply,
        0x30 => Calculation::Divide,
        0x40 => Calculation::Or,
        0x50 => Calculation::And,
        0x60 => Calculation::ShiftLeft,
        0x70 => Calculation::ShiftRight,
        0x80 if operand != Operand::Index => Calculation::Negate,
        0x90 => Calculation::Remainder,
        0xa0 => Calculation::ExclusiveOr,
        _ => return Err("is not known"),
    })
}

/// What comes after a step.
enum Next {
    Step,
    Jump(usize),
    End(bool),
}

/// The registers and the memory.
#[derive(Default)]
struct Machine {
    accumulator: u32,
    index: u32,
    memory: [u32; MEMORY],
}

impl Machine {
    fn step(&mut self, step: Step, packet: &mut impl Packet) -> Option<Next> {
        match step {
            Step::Packet { at, count, indexed } => {
                let from = u64::from(at) + if indexed { u64::from(self.index) } else { 0 };
                let bytes = packet.bytes(from, count)?;
                self.accumulator = bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
            }
            Step::HeaderLength(at) => {
                self.index = u32::from(packet.bytes(at.into(), 1)?.first()? & 0xf) << 2;
            }
            Step::Constant(to, constant) => *self.register(to) = constant,
            Step::Length(to) => *self.register(to) = packet.length(),
            Step::Recall(to, place) => *self.register(to) = *self.memory.get(place)?,
            Step::Store(from, place) => {
                let value = *self.register(from);
                *self.memory.get_mut(place)? = value;
            }
            Step::Calculate(calculation, operand) => {
                self.accumulator = self.calculate(calculation, operand)?
            }
            Step::Jump(to) => return Some(Next::Jump(to)),
            Step::Branch { test, operand, yes, no } => {
                return Some(Next::Jump(if self.holds(test, operand) { yes } else { no }));
            }
            Step::Return(constant) => return Some(Next::End(constant.unwrap_or(self.accumulator) != 0)),
            Step::Move { to: Register::Index } => self.index = self.accumulator,
            Step::Move { to: Register::Accumulator } => self.accumulator = self.index,
        }
        Some(Next::Step)
    }

    fn register(&mut self, register: Register) -> &mut u32 {
        match register {
            Register::Accumulator => &mut self.accumulator,
            Register::Index => &mut self.index,
        }
    }

    fn value(&self, operand: Operand) -> u32 {
        match operand {
            Operand::Constant(constant) => constant,
            Operand::Index => self.index,
        }
    }

    fn holds(&self, test: Test, operand: Operand) -> bool {
        let (left, right) = (self.accumulator, self.value(operand));
        match test {
            Test::Equal => left == right,
            Test::Greater => left > right,
            Test::GreaterOrEqual => left >= right,
            Test::Bits => left & right != 0,
        }
    }

    fn calculate(&self, calculation: Calculation, operand: Operand) -> Option<u32> {
        let (left, right) = (self.accumulator, self.value(operand));
        Some(match calculation {
            Calculation::Add => left.wrapping_add(right),
            Calculation::Subtract => left.wrapping_sub(right),
            Calculation::Multiply => left.wrapping_mul(right),
            Calculation::Divide => left.checked_div(right)?,
            Calculation::Or => left | right,
            Calculation::And => left & right,
            Calculation::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Calculation::ShiftRight => left.checked_shr(right).unwrap_or(0),
            Calculation::Negate => left.wrapping_neg(),
            Calculation::Remainder => left.checked_rem(right)?,
            Calculation::ExclusiveOr => left ^ right,
        })
    }
}

#[cfg(test)]
mod tests;
