using Vhost.Protocol;

namespace Vhost.Backend.Tests.Status;

/// <summary>An application that has its own way with messages.</summary>
public class MessageHookTests
{
    private const uint OwnRequest = 0x7F;

    [Fact]
    public async Task A_message_that_the_back_end_does_not_know_is_the_hooks()
    {
        Hook hook = new(OwnRequest, message => MessageDecision.Reply(message.Payload.ToArray().Reverse().ToArray()));
        await using SessionBench dialogue = Hooked(hook);
        await dialogue.Frontend.NegotiateAsync();

        await dialogue.Frontend.SendAsync(OwnRequest, RawFrontend.Plain, new byte[] { 1, 2, 3 });

        (await dialogue.Frontend.ReplyToAsync(OwnRequest)).Should().Equal(3, 2, 1);
        hook.Heard.Should().EndWith($"{OwnRequest}: True");
    }

    [Fact]
    public async Task A_message_that_the_back_end_knows_can_be_carried_out_or_refused_by_the_hook()
    {
        Hook hook = new((uint)VhostUserRequest.SetVringNum, message => BitConverter.ToUInt32(message.Payload) == 0 ? MessageDecision.Done : MessageDecision.Refuse("not this one"));
        await using SessionBench dialogue = Hooked(hook);
        await dialogue.Frontend.NegotiateAsync();

        await dialogue.Frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 12345));
        await dialogue.Frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(1, 16));

        dialogue.Backend.GetStatus()!.Queues.Should().OnlyContain(queue => queue.Size == 0, "the back-end never saw them");
        hook.Heard.Should().EndWith($"{(uint)VhostUserRequest.SetVringNum}: False");
    }

    [Fact]
    public async Task What_the_hook_leaves_is_done_as_ever()
    {
        Hook hook = new(OwnRequest, _ => MessageDecision.Done);
        await using SessionBench dialogue = Hooked(hook);
        await dialogue.Frontend.NegotiateAsync();
        await dialogue.Frontend.AddMemoryAsync(dialogue.Guest);
        await (await dialogue.RunAsync()).EchoAsync(1);
        hook.Heard.Should().StartWith(["3: True", "1: True"]);
    }

    [Fact]
    public async Task A_hook_that_throws_refuses_the_message_and_loses_nothing_else()
    {
        Hook hook = new((uint)VhostUserRequest.SetVringNum, _ => throw new InvalidOperationException("the test's hook")) { ThrowsAfter = true };
        await using SessionBench dialogue = Hooked(hook);
        await dialogue.Frontend.NegotiateAsync();
        await dialogue.Frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, 16));
        await dialogue.Frontend.AcceptedAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 16));
    }

    [Fact]
    public async Task B02_what_the_header_check_refuses_never_reaches_the_hook()
    {
        Hook hook = new(uint.MaxValue, _ => MessageDecision.Done);
        await using SessionBench dialogue = Hooked(hook);
        await dialogue.Frontend.SendAsync((uint)VhostUserRequest.GetFeatures, (VhostUserHeaderFlags)2, default);
        await dialogue.Frontend.ExpectClosedAsync();
        hook.Asked.Should().Be(0);
    }

    [Fact]
    public void A_reply_that_no_front_end_could_read_is_refused_at_once()
    {
        MessageDecision.Reply(new byte[VhostUserHeader.MaxPayloadSize]).Should().NotBeNull();
        ((Action)(() => MessageDecision.Reply(new byte[VhostUserHeader.MaxPayloadSize + 1]))).Should().Throw<ArgumentException>();
    }

    private sealed class Hook(uint request, Func<VhostUserMessage, MessageDecision> decide) : IVhostUserMessageHook
    {
        public List<string> Heard { get; } = [];

        public int Asked { get; private set; }

        public bool ThrowsAfter { get; init; }

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state)
        {
            Asked++;
            return message.Header.Request == request ? decide(message) : MessageDecision.NotHandled;
        }

        public void After(VhostUserHeader header, bool carriedOut)
        {
            Heard.Add($"{header.Request}: {carriedOut}");
            if (ThrowsAfter)
                throw new InvalidOperationException("the test's hook");
        }
    }

    private static SessionBench Hooked(Hook hook) => new(options: new VhostUserBackendOptions { MessageHook = hook });
}
