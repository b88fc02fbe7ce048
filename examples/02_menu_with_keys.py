"""A menu: keys arrive as `[DTMF: 1]`, words as words, and the same function answers both.

Needs TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, and a public name for port 8000.
"""

import asyncio

from getpatter import CallControl, LocalSTT, LocalTTS, Patter, Twilio

MENU = "For opening hours press 1. For the address press 2. To end the call press 9."

phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")

agent = phone.agent(
    system_prompt="You are the menu of a museum.",
    first_message=f"Welcome to the museum. {MENU}",
    stt=LocalSTT(grammar=["opening hours [please]", "[the] address [please]", "goodbye"]),
    tts=LocalTTS(),
)


async def on_message(message: dict, call: CallControl):
    """What to say to the caller, piece by piece."""
    match message["text"]:
        case "[DTMF: 1]" | "opening hours" | "opening hours please":
            yield "We are open from ten to six, every day but Monday. "
            yield "Press 9 to end the call."
        case "[DTMF: 2]" | "the address" | "address please" | "the address please":
            yield "Twelve Harbour Street. Press 9 to end the call."
        case "[DTMF: 9]" | "goodbye":
            await call.hangup()  # once the goodbye has been heard
            yield "Thank you for calling. Goodbye!"
        case _:
            yield MENU


if __name__ == "__main__":
    asyncio.run(phone.serve(agent, on_message=on_message))
