namespace Vhost.Tool;

/// <summary>A command cannot do what it was asked to. The message names what it is about and says what to do.</summary>
internal sealed class ToolException(string message, Exception? inner = null) : IOException(message, inner);
