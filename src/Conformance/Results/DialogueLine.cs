namespace Vhost.Conformance;

/// <summary>One line of what was said during a case.</summary>
/// <param name="At">Since the case began.</param>
/// <param name="From">Who said it.</param>
/// <param name="Channel">Where: <c>main</c> or <c>back-end</c>, with a number behind it from the second connection of a case on.</param>
/// <param name="Text">The decoded message, or what happened.</param>
public readonly record struct DialogueLine(TimeSpan At, DialogueSpeaker From, string Channel, string Text);
