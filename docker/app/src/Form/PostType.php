<?php

namespace App\Form;

use Symfony\Component\Form\AbstractType;
use Symfony\Component\Form\CallbackTransformer;
use Symfony\Component\Form\Extension\Core\Type\TextareaType;
use Symfony\Component\Form\Extension\Core\Type\TextType;
use Symfony\Component\Form\FormBuilderInterface;
use Symfony\Component\Validator\Constraints\All;
use Symfony\Component\Validator\Constraints\Count;
use Symfony\Component\Validator\Constraints\Length;
use Symfony\Component\Validator\Constraints\NotBlank;

final class PostType extends AbstractType
{
    public function buildForm(FormBuilderInterface $builder, array $options): void
    {
        $builder
            ->add('title', TextType::class, [
                'attr' => ['maxlength' => 255],
                'constraints' => [new NotBlank(message: 'A post has a title.'), new Length(max: 255)],
            ])
            ->add('summary', TextareaType::class, [
                'help' => 'A sentence or two, for the list of posts.',
                'attr' => ['rows' => 2, 'maxlength' => 255],
                'constraints' => [new NotBlank(message: 'A post has a summary.'), new Length(max: 255)],
            ])
            ->add('content', TextareaType::class, [
                'help' => 'An empty line begins a new paragraph.',
                'attr' => ['rows' => 16],
                'constraints' => [new NotBlank(message: 'A post has content.'), new Length(max: 100000)],
            ])
            ->add('tags', TextType::class, [
                'required' => false,
                'help' => 'Separated by commas, at most five.',
                'constraints' => [
                    new Count(max: 5, maxMessage: 'A post has at most {{ limit }} tags.'),
                    new All([new Length(max: 40, maxMessage: 'A tag has at most {{ limit }} characters.')]),
                ],
            ]);
        $builder->get('tags')->addModelTransformer(new CallbackTransformer(
            static fn (?array $names): string => implode(', ', $names ?? []),
            static fn (?string $text): array => array_values(array_unique(
                array_filter(array_map('trim', explode(',', mb_strtolower($text ?? ''))), 'strlen'),
            )),
        ));
    }
}
