//! The live view: lines at the bottom of the terminal that are drawn again five times a second; what
//! stays is printed above them. Draws on standard error; what the lines say is the [`LiveView`]'s.

mod view;
mod words;

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::events::{Event, Reporter, STOPPING};
use crate::console::{self, OutputStream};
use view::LiveView;

/// Time between two drawings.
const FRAME: Duration = Duration::from_millis(200);

/// Whether the terminal can go back to lines that it has shown.
pub fn can_draw() -> bool {
    let term = std::env::var_os("TERM");
    cfg!(windows) || term.is_some_and(|it| !it.is_empty() && it != "dumb")
}

/// Draws on standard error.
pub struct Terminal {
    screen: Arc<Mutex<Screen>>,
}

struct Screen {
    view: LiveView,
    /// Lines that stand there and can be drawn over.
    drawn: Vec<String>,
    colours: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        let choice = anstream::AutoStream::choice(&std::io::stderr());
        let colours = choice != anstream::ColorChoice::Never;
        let screen = Screen { view: LiveView::new(Instant::now()), drawn: Vec::new(), colours };
        let screen = Arc::new(Mutex::new(screen));
        let weak = Arc::downgrade(&screen);
        // Without the thread there is a drawing whenever something is printed.
        let _ = thread::Builder::new().name("terminal".to_owned()).spawn(move || {
            loop {
                thread::sleep(FRAME);
                let Some(screen) = weak.upgrade() else { return };
                screen.lock().unwrap_or_else(PoisonError::into_inner).draw(&[]);
            }
        });
        Self { screen }
    }
}

impl Terminal {
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter for Terminal {
    fn event(&self, event: &Event) {
        let mut screen = self.screen();
        let stays = screen.view.event(event, Instant::now());
        if !stays.is_empty() || matches!(event, Event::RunFinished { .. }) {
            screen.draw(&stays);
        }
    }

    fn stopping(&self) {
        self.screen().draw(&[STOPPING.to_owned()]);
    }
}

impl Screen {
    /// Prints `above`, and the view below it.
    fn draw(&mut self, above: &[String]) {
        let size = terminal_size::terminal_size_of(std::io::stderr());
        let (width, height) = size.map_or((80, 24), |(width, height)| (width.0, height.0));
        let (width, height) = (usize::from(width).max(20), usize::from(height).max(4));
        let lines = self.view.lines(width, height / 2, Instant::now());
        if above.is_empty() && lines == self.drawn {
            return;
        }
        // Lines that a narrower terminal has broken take several rows.
        let rows: usize =
            self.drawn.iter().map(|it| it.chars().count().max(1).div_ceil(width)).sum();
        let mut text = String::from("\r");
        if rows > 1 {
            text += &format!("\x1b[{}A", rows - 1);
        }
        text += "\x1b[J";
        for line in above {
            text += line;
            text.push('\n');
        }
        let shown: Vec<String> = lines
            .iter()
            .map(|line| if self.colours { words::painted(line) } else { line.clone() })
            .collect();
        text += &shown.join("\n");
        console::attempt(OutputStream::Error, || {
            let mut stream = std::io::stderr().lock();
            stream.write_all(text.as_bytes())?;
            stream.flush()
        });
        self.drawn = lines;
    }
}
