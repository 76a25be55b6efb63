// What an app of the AI SDK does with messages and with parts that are no part of one, whatever the version and the framework.

// textOf is what a page shows as the assistant's.
export const textOf = (messages) => messages.filter((message) => message.role === 'assistant')
  .flatMap((message) => message.parts).filter((part) => part.type === 'text').map((part) => part.text).join('');

// onData has what the SDK hands an app of parts that are no part of the message.
export const onData = (session) => (part) => {
  if (part.type === 'data-gap') session.gap('onData: data-gap');
};
