//! A browser without a screen (Debian's chromium), driven as its own developer tools drive it: the DevTools protocol over a pair of pipes, so
//! that nothing listens.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::deadline::wait_until;

/// How long an answer, or a condition on the page, may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Pipes at descriptors 3 and 4 are its protocol. As root, its own sandbox cannot be had; it sees nothing but pages of the test.
const LINE: &str = "exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir=\"$0\" \
    --no-first-run --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars \
    --window-size=1280,900 about:blank 3<&0 4>&1 >\"$0/browser.log\" 2>&1";

/// A browser with one page.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// What the page complained about: exceptions, errors on its console, refused loads.
    problems: Vec<String>,
}

impl Browser {
    /// Starts it, with its files in `folder`.
    ///
    /// # Panics
    /// If there is no chromium.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", LINE]).arg(folder).env("HOME", folder).env("XDG_CONFIG_HOME", folder);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, messages) = channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let Ok(value) = serde_json::from_slice(&message[..message.len() - 1]) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let input = child.stdin.take().unwrap();
        let mut browser = Self { child, input, messages, last: 0, session: None, problems: Vec::new() };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let targets = self.call("Target.getTargets", json!({}));
        let page = targets["targetInfos"].as_array().unwrap().iter().find(|target| target["type"] == "page");
        let page = page.expect("chromium has a page: scripts/setup installs it")["targetId"].clone();
        let session = self.call("Target.attachToTarget", json!({ "targetId": page, "flatten": true }));
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Calls a method of the protocol.
    ///
    /// # Panics
    /// If it fails or is not answered.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = self.input.write_all(format!("{message}\0").as_bytes());
        assert!(sent.is_ok(), "chromium is gone ({sent:?}): scripts/setup installs it");
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.messages.recv_timeout(left);
            let mut answer =
                answer.unwrap_or_else(|error| panic!("{method}: {error}; scripts/setup installs chromium"));
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.hear(&answer);
        }
    }

    fn hear(&mut self, event: &Value) {
        let told = &event["params"];
        let problem = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(&told["exceptionDetails"]),
            Some("Runtime.consoleAPICalled") if told["type"] == "error" || told["type"] == "assert" => {
                Some(told)
            }
            Some("Log.entryAdded") if told["entry"]["level"] == "error" => Some(&told["entry"]),
            _ => None,
        };
        self.problems.extend(problem.map(Value::to_string));
    }

    /// Opens an address, and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        // A page of its own each time, also where only what follows # differs.
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.until(
            "the page to be loaded",
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        );
    }

    /// What an expression of JavaScript gives; a promise is waited for.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let question = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", question);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// If it never is; the message has the page's text.
    pub fn until(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + LIMIT;
        // A page that is being left cannot be asked.
        let asked = format!(
            "(() => {{ try {{ return Boolean({expression}); }} catch (error) {{ return String(error); }} }})()"
        );
        loop {
            let last = self.evaluate(&asked);
            if last == true {
                return;
            }
            let text = || -> Value { last.clone() };
            assert!(
                Instant::now() < deadline,
                "waited in vain: {what} ({expression}: {}); the page says:\n{}\nproblems: {:?}",
                text(),
                self.evaluate("document.body.innerText").as_str().unwrap_or_default(),
                self.problems
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The text of what a selector finds first.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({})?.textContent ?? ''", quoted(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks with the mouse on what a selector finds first.
    ///
    /// # Panics
    /// If there is no such thing, or something else lies over it.
    pub fn click(&mut self, selector: &str) {
        let place = self.evaluate(&format!(
            "(() => {{ const found = document.querySelector({0}); if (!found) return 'there is no ' + {0}; \
             found.scrollIntoView({{ block: 'center' }}); const box = found.getBoundingClientRect(); \
             const [x, y] = [box.x + box.width / 2, box.y + box.height / 2]; const top = document.elementFromPoint(x, y); \
             return found.contains(top) || top?.contains(found) ? [x, y] : 'covered by ' + top?.outerHTML; }})()",
            quoted(selector)
        ));
        assert!(place.is_array(), "{selector}: {place}");
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Types into what a selector finds, in place of what stands there.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        self.evaluate(&format!(
            "(() => {{ const input = document.querySelector({}); input.focus(); input.select(); }})()",
            quoted(selector)
        ));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key, by its name in the DOM.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowRight" => 39,
            "Tab" => 9,
            _ => 0,
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Gives the page another size, and dark colours or light ones.
    pub fn resize(&mut self, width: u32, height: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// What is seen, as PNG in base64.
    pub fn picture(&mut self) -> String {
        self.call("Page.captureScreenshot", json!({ "format": "png" }))["data"].as_str().unwrap().to_owned()
    }

    /// What the page complained about so far: exceptions, errors on its console, what its policy refused.
    pub fn problems(&mut self) -> Vec<String> {
        // What comes before this answer is heard.
        self.evaluate("1");
        std::mem::take(&mut self.problems)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        if !std::thread::panicking() {
            wait_until("chromium to end", LIMIT, || self.child.try_wait().unwrap().is_some());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A text as JavaScript writes it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
