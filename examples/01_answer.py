"""A phone that answers. Needs TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, and a public name for port 8000."""

import asyncio

from getpatter import LocalSTT, LocalTTS, Patter, Twilio

phone = Patter(carrier=Twilio(), phone_number="+15550001234", webhook_url="agent.example.com")

agent = phone.agent(
    system_prompt="You take orders for a pizza place.",
    first_message="Hello! Would you like cheese or mushroom?",
    stt=LocalSTT(grammar="[a] (cheese | mushroom) [pizza] [please]"),
    tts=LocalTTS(),
)


async def on_message(message):
    """What to say to the caller."""
    return f"You said {message['text']}. It will be ready in twenty minutes."


if __name__ == "__main__":
    asyncio.run(phone.serve(agent, on_message=on_message))
